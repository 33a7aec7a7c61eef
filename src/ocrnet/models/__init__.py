"""The network: HRNet and ResNet backbones, the two heads of OCRNet, synchronised BatchNorm, mixed precision.

Uses `config` and `distributed`.
"""
