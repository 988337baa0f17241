"""What the recipes of several papers share."""

from keras_deit.data import Augmentation
from keras_deit.objectives import Distillation

# DeiT, table 9 and the defaults of the published script. The script also sets color jitter, which
# has no effect beside RandAugment.
DEIT_AUGMENTATION = Augmentation(
    auto_augment="rand-m9-mstd0.5-inc1", erase_probability=0.25, repeated_augmentation=3
)

# The authors track the average and report the raw weights.
EMA_DECAY = 0.99996

# The authors' teacher is a RegNetY-16GF (82.9 % top-1), which Keras does not have. This is the best
# convnet that KerasCV has weights for, fine-tuned to the data. For ImageNet itself
# `--teacher kerascv:efficientnetv2_s_imagenet_classifier` needs no fine-tuning.
DISTILLATION = Distillation(teacher="kerascv:efficientnetv2_s_imagenet")
