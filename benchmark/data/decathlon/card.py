"""What people must know of the Visual Decathlon."""

from benchmark.data.card import DataCard
from benchmark.data.decathlon.facts import facts

CARD = DataCard(
    title="Visual Decathlon",
    summary="Ten image classification sets of very different pictures, one task each; every task has its own pictures.",
    targets={name: f"{each.title}: one of {each.classes} classes." for name, each in facts().items()},
    sizes="72 pixels along the shorter side, as in the archive; networks see squares of 72×72.",
    splits="Test: the official val, since the official test labels are withheld. Train and val: the official train; of "
    "each class the fifth of every ten pictures, in the order of their ids, is held out. Challenge: the official test.",
    licence="Each of the ten sets has its own terms, listed on the official page; ImageNet needs an account. For "
    "research.",
    citation="S.-A. Rebuffi, H. Bilen and A. Vedaldi. Learning multiple visual domains with residual adapters. NeurIPS "
    "2017.",
    homepage="https://www.robots.ox.ac.uk/~vgg/decathlon/",
    obtain="Download decathlon-1.0-devkit.tar.gz and decathlon-1.0-data.tar.gz from "
    "https://www.robots.ox.ac.uk/~vgg/decathlon/ and, for ImageNet, decathlon-1.0-data-imagenet.tar; unpack them into "
    "one folder, and in its folder data every <set>.tar. The folder that holds annotations and data is the source.",
    caveats=(
        "Published numbers are of the official test pictures, from the challenge's server; those on boards are of the "
        "official val pictures. 'mtbench submit decathlon' writes the server's list.",
        "Pictures of one video, track or pedestrian lie in train and in val: neither the official split nor ours "
        "separates them, since the archive does not say what belongs together.",
        "The score counts errors relative to the baseline's: halving them earns 562.5 points of 1000 on any set.",
    ),
)
