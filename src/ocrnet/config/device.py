"""The keys of the device's options."""

from typing import Literal

from ocrnet.config.types import Section


class DeviceConfig(Section):
    """MindSpore's options of the device. null leaves MindSpore's default."""

    jit_level: Literal["O0", "O1", "O2"] | None = None
    """How MindSpore compiles in graph mode. O0: kernel by kernel; O1: with fused operators too; O2: CANN's graph engine
    (Ascend only, deprecated since MindSpore 2.9). null: MindSpore's choice."""
    precision_mode: (
        Literal[
            "must_keep_origin_dtype",
            "allow_fp32_to_fp16",
            "force_fp16",
            "force_fp32",
            "allow_fp32_to_bf16",
            "allow_mix_precision",
            "allow_mix_precision_fp16",
            "allow_mix_precision_bf16",
        ]
        | None
    ) = None
    """Ascend: the type in which CANN computes float32 operators (ascend.op_precision.precision_mode). null: MindSpore's
    choice."""
    conv_allow_hf32: bool | None = None
    """Ascend: compute float32 convolutions in HF32, with fewer bits. null: CANN's default, which is true."""
    matmul_allow_hf32: bool | None = None
    """Ascend: compute float32 matrix products in HF32. null: CANN's default, which is false."""
    conv_allow_tf32: bool | None = None
    """GPU: compute float32 convolutions in TF32, with fewer bits. null: MindSpore's default, which is true."""
    matmul_allow_tf32: bool | None = None
    """GPU: compute float32 matrix products in TF32. null: MindSpore's default, which is false."""

    @property
    def options(self) -> dict[str, str | bool]:
        """The options that are not null, as `device.init` takes them."""
        return self.model_dump(exclude_none=True)
