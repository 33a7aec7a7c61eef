"""OCRNet (Object-Contextual Representations, ECCV 2020) on MindSpore."""

from ocrnet import device

device.prepare_environment()
