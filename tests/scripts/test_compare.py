import json

import pytest


def test_table_and_plot_of_several_runs(run_script, tmp_path):
    for name, car in (("small", 0.25), ("large", 0.5)):
        (tmp_path / f"{name}.json").write_text(json.dumps({"miou": car, "iou": {"car": car, "bus": None}}))
    runs = [tmp_path / "small.json", tmp_path / "large.json"]
    done = run_script("scripts/compare.py", *runs, "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    lines = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()[1:]}
    assert lines["mIoU"] == ["25.00", "50.00*"] and lines["bus"] == ["absent", "absent"]
    plot = (tmp_path / "out" / "comparison.svg").read_text()
    assert plot.count("<svg") == 1 and 'width="165.0"' in plot and 'width="330.0"' in plot  # 660 is 100 %
    assert json.loads((tmp_path / "out" / "comparison.json").read_text())[str(runs[1])]["car"] == 0.5


def test_the_folder_of_a_run_is_evaluated(run_script, demo, untrained, tmp_path):
    config = untrained.config.replace({"data.root": demo, "ms_mode": 1})
    (untrained.path.parents[1] / "config.yml").write_text(config.to_yaml())
    done = run_script("scripts/compare.py", untrained.path.parents[1], "--output", tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 22  # a heading, mIoU, 19 classes, the path of the plot


@pytest.mark.parametrize(
    ("content", "message"), [("{}", "not a file written by eval.py"), (None, "cannot read this run")]
)
def test_an_invalid_run_is_an_error(run_script, tmp_path, content, message):
    path = tmp_path / "result.json"
    if content is not None:
        path.write_text(content)
    done = run_script("scripts/compare.py", path, "--output", tmp_path)
    assert done.returncode == 2 and f"{path}: {message}" in done.stderr and "Traceback" not in done.stderr
