"""Kinds of nodes of a graph, by what they do with rows.

Names are those of torch's derivatives, without "Backward0".
"""

from __future__ import annotations


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


ALONG = _names("""
    IndexSelect Gather Scatter ScatterAdd ScatterReduce IndexAdd IndexCopy IndexReduce Sort Topk
    Kthvalue
    """)
"""Rows go by an index along one dimension."""
FACTORS = {
    "MmBackward0": (0, ("_saved_self_sym_sizes", "_saved_mat2_sym_sizes")),
    "BmmBackward0": (0, ("_saved_self", "_saved_mat2")),
    "AddmmBackward0": (1, ("_saved_mat1_sym_sizes", "_saved_mat2_sym_sizes")),
    "BaddbmmBackward0": (1, ("_saved_batch1", "_saved_batch2")),
}
"""Products: the place of the first factor, and where the sizes of both are saved."""
NUMBERS = {
    kind: tuple(f"_saved_{name}" for name in names)
    for kind, names in {
        "SelectBackward0": ("dim", "index"),
        "SliceBackward0": ("dim", "start", "end", "step"),
        "SplitBackward0": ("dim", "split_size"),
        "UnsafeSplitBackward0": ("dim", "split_size"),
        "SplitWithSizesBackward0": ("dim", "split_sizes"),
        "UnbindBackward0": ("dim",),
        "RollBackward0": ("dims", "shifts"),
        "FlipBackward0": ("dims",),
        "Rot90Backward0": ("dims", "k"),
        "CatBackward0": ("dim",),
        "StackBackward0": ("dim",),
        "RepeatBackward0": ("repeats",),
        "PermuteBackward0": ("dims",),
        "TransposeBackward0": ("dim0", "dim1"),
        "ConstantPadNdBackward0": ("pad",),
        "DiagonalBackward0": ("offset", "dim1", "dim2"),
        "UnfoldBackward0": ("dimension", "size", "step"),
        "UnsqueezeBackward0": ("dim",),
        "AsStridedBackward0": ("size", "stride", "storage_offset"),
        "TBackward0": (),
        "BlockDiagBackward0": (),
        "DiagEmbedBackward0": ("offset", "dim1", "dim2"),
    }.items()
}
"""Nodes that move rows by numbers which the forward may draw or compute, and where those are saved."""
RESHAPED = _names("""
    View UnsafeView ReshapeAlias ReshapeCopy MkldnnReshape Expand Squeeze ViewAsReal ViewAsComplex
    """)
"""Nodes that read rows as others by their sizes."""
SIZED = _names("""
    SelectBackward0 SliceBackward0 SplitBackward0 SplitWithSizesBackward0
    """)
COMBINED = _names("""
    Add Sub Rsub Mul Div Where Lerp Maximum Minimum Fmax Fmin Addcmul Addcdiv Pow Atan2 Hypot Logaddexp
    Logaddexp2 Xlogy SpecialXlog1Py Copysign Complex Polar Remainder Fmod Ldexp Nextafter Igamma Igammac
    SpecialZeta MseLoss SmoothL1Loss HuberLoss BinaryCrossEntropy BinaryCrossEntropyWithLogits
    """)
"""Several values, number by number: rows stay unless one is used along a dimension of samples (broadcast)."""
REDUCED = _names("""
    Sum Mean Amax Amin Aminmax Max Min Median Nanmedian Mode Logsumexp Prod Std StdMean Var VarMean
    LinalgVectorNorm Norm Nansum
    """)
"""One number of many: rows stay unless samples are brought together."""
TRANSFORMED = _names("""
    FftC2C FftR2C FftC2R
    """)
"""Along dimensions: a factor for each frequency moves what lies along them."""
SAMPLES_LEAD = _names("""
    Convolution ConvolutionOverrideable ConvDepthwise2D ConvDepthwise3D CudnnConvolution
    CudnnConvolutionTranspose MkldnnConvolution SlowConv2D SlowConv3D SlowConvDilated2D
    SlowConvDilated3D SlowConvTranspose2D SlowConvTranspose3D GridSampler2D GridSampler3D
    CudnnGridSampler MaxUnpool2D MaxUnpool3D ScaledDotProductCudnnAttention
    ScaledDotProductEfficientAttention ScaledDotProductFlashAttention
    ScaledDotProductFlashAttentionForCpu ScaledDotProductFusedAttentionOverrideable EfficientAttention
    FlashAttention CudnnAttention AffineGridGenerator CudnnAffineGridGenerator
    """)
"""Each entry of the first dimension on its own; within one, anything may move."""
MATRICES = _names("""
    Cholesky CholeskyInverse CholeskySolve LinalgCholeskyEx LinalgDet LinalgEig LinalgEigh
    LinalgHouseholderProduct LinalgInvEx LinalgLstsq LinalgLu LinalgLuFactorEx LinalgLuSolve
    LinalgMatrixExp LinalgPinv LinalgQr LinalgSlogdet LinalgSolveEx LinalgSolveTriangular LinalgSvd
    LuUnpack Ormqr TriangularSolve
    """)
"""The same of stacked matrices."""
STAYING = _names("""
    Abs Acos Acosh Alias Angle Asin Asinh Atan Atanh Bernoulli Ceil Celu Clamp ClampMax ClampMin Clone
    LazyClone Conj ConjPhysical Cos Cosh Deg2Rad Rad2Deg Digamma Elu Erf Erfc Erfinv Exp Exp2 Expm1
    FakeQuantizeLearnablePerChannelAffine FakeQuantizeLearnablePerTensorAffine
    FakeQuantizePerChannelAffineCachemask FakeQuantizePerTensorAffineCachemask
    FakeQuantizePerTensorAffineCachemaskTensorQparams Fill Floor Frac Frexp FusedDropout Gelu Glu
    Hardshrink Hardsigmoid Hardswish Hardtanh I0 LeakyRelu Lgamma Lift LiftFresh Log Log10 Log1P Log2
    LogSigmoid Logit IndexFill MaskedFill Mish Mvlgamma NanToNum NativeDropout Neg NegView PinMemory
    Polygamma PreluKernel Reciprocal Relu Round RreluWithNoise RreluWithNoiseFunctional Rsqrt Sgn
    Sigmoid Sign Silu Sin Sinc Sinh Softplus Softshrink SpecialEntr SpecialErfcx SpecialI0E SpecialI1
    SpecialI1E SpecialLogNdtr SpecialNdtri Sqrt Tan Tanh Threshold ToCopy ToMkldnn Tril Triu Trunc Zero
    StandardGamma CopyBackwards NativeLayerNorm NativeGroupNorm FusedRmsNorm NativeBatchNorm
    NativeBatchNormLegit NativeBatchNormLegitNoTraining BatchNormNoUpdate BatchNormWithUpdate
    CudnnBatchNorm MiopenBatchNorm Softmax LogSoftmax SafeSoftmax MaskedSoftmax Cumsum Cumprod Cummax
    Cummin Logcumsumexp Renorm AdaptiveAvgPool2D AdaptiveAvgPool3D AdaptiveMaxPool2D AdaptiveMaxPool3D
    AvgPool2D AvgPool3D MaxPool2D MaxPool2DWithIndices MaxPool3DWithIndices FractionalMaxPool2D
    FractionalMaxPool3D MkldnnMaxPool2D MkldnnMaxPool3D MkldnnAdaptiveAvgPool2D UpsampleBicubic2D
    UpsampleBicubic2DAa UpsampleBilinear2D UpsampleBilinear2DAa UpsampleLinear1D UpsampleNearest1D
    UpsampleNearest2D UpsampleNearest3D UpsampleNearestExact1D UpsampleNearestExact2D
    UpsampleNearestExact3D UpsampleTrilinear3D UpsampleLanczos2DAa ReflectionPad1D ReflectionPad2D
    ReflectionPad3D ReplicationPad1D ReplicationPad2D ReplicationPad3D PixelShuffle PixelUnshuffle
    ChannelShuffle Im2Col Col2Im Dot Vdot Dist Trace NllLoss NllLoss2D SoftMarginLoss MultiMarginLoss
    MultilabelMarginLoss CtcLoss CudnnCtcLoss CudnnRnn MkldnnRnnLayer MiopenRnn LstmMps ThnnFusedGruCell
    ThnnFusedLstmCell
    """)
"""Nodes that leave rows where they are, or mix whole samples so that a reading shows it."""
ORDERING = frozenset([
    "SelectBackward0", "SliceBackward0", "SplitBackward0", "UnsafeSplitBackward0", "SplitWithSizesBackward0",
    "UnbindBackward0", "RollBackward0", "FlipBackward0", "Rot90Backward0", "AsStridedBackward0",
    "CatBackward0", "StackBackward0",
])  # fmt: skip
"""Nodes that put samples in another order by numbers: of two such orders, data may choose one."""
