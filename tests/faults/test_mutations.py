"""`mutations.py` takes too long for every run of the tests; here, that its mutations can still be applied."""

from mutations import MUTATIONS, ROOT


def test_each_mutation_fits_one_place():
    sources = {mutation: ROOT / "src" / "ocrnet" / mutation.file for mutation in MUTATIONS}
    counts = {
        mutation.name: file.read_text(encoding="utf-8").count(mutation.right) for mutation, file in sources.items()
    }
    assert {name: count for name, count in counts.items() if count != 1} == {}
    assert [mutation.tests for mutation in MUTATIONS if not (ROOT / "tests" / mutation.tests).exists()] == []
