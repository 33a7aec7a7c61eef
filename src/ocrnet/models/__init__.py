"""The network: HRNet and ResNet backbones, the two heads of OCRNet, BatchNorm over ranks, mixed precision.

Uses `config` and `distributed`.
"""
