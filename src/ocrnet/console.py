"""The commands of an installed package: ocrnet-train, ocrnet-eval and ocrnet-predict are the clone's entry scripts."""

from ocrnet import errors


def train() -> int:
    from ocrnet.programs import train

    return errors.run(train.main)


def evaluate() -> int:
    from ocrnet.programs import eval

    return errors.run(eval.main)


def predict() -> int:
    from ocrnet.programs.scripts import predict

    return errors.run(predict.main)
