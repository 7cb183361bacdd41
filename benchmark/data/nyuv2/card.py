"""What people must know of NYUv2."""

from dataclasses import replace

from benchmark.data.card import DataCard

CARD = DataCard(
    title="NYU Depth Dataset V2, labelled part",
    summary="1449 frames of indoor scenes from a Kinect, with dense class labels, depth, and normals computed from it.",
    targets={
        "semantic": "13 (or 40) classes, labelled by people; −1 unlabelled, about a sixth of the pixels.",
        "depth": "Metres along the camera's axis, 0 to 10; in-painted by default: the sensor's holes are filled "
        "with guesses; with depth=raw, 0 where nothing was measured.",
        "normals": "Unit vectors, x right, y down, z forward, pointing to the camera; planes fitted to the measured "
        "depth in windows of 11 pixels of the full frame; 0 where depth is missing or the fit is poor.",
    },
    sizes="288×384, from 426×560 of 480×640 pixels: pictures by area, targets by the nearest pixel.",
    splits="Test: the official 654 frames. Train and val: the official 795, about a tenth of them held out by scene.",
    licence="No licence comes with the file: see the official page. The pictures show private rooms; do not pass on.",
    citation="N. Silberman, D. Hoiem, P. Kohli and R. Fergus. Indoor Segmentation and Support Inference from RGBD "
    "Images. ECCV 2012.",
    homepage="https://cs.nyu.edu/~fergus/datasets/nyu_depth_v2.html",
    obtain="Download 'Labeled dataset (~2.8 GB)', nyu_depth_v2_labeled.mat, from "
    "https://cs.nyu.edu/~fergus/datasets/nyu_depth_v2.html into a folder of its own.",
    caveats=(
        "Papers train on preprocessed copies whose crop, resampling and normals were never published: numbers compare "
        "with their tables only roughly.",
        "In-painted depth is scored as truth in all published tables, though nobody measured it.",
        "Published tables validate on the test frames; here val is cut from train.",
        "Labels have a void border, which the crop removes, and void seams between objects.",
    ),
)

NPY_CARD = replace(
    CARD,
    title="NYU Depth Dataset V2, labelled part, as preprocessed by the MTAN authors",
    summary="The same 1449 frames in the folder of .npy files on which the multi-task literature trains.",
    targets={
        "semantic": "13 classes; −1 unlabelled.",
        "depth": "Metres, 0 to 10; 0 unknown.",
        "normals": "Components in −1 to 1, from Eigen & Fergus (ICCV 2015); 0 unknown. The axes' signs are not stated.",
    },
    sizes="288×384, as in the files; how they were resampled is not known.",
    splits="Test: the folder val, the official 654 frames. Train and val: the folder train, 795 frames; the middle ten "
    "of every hundred files in a row are held out, since the scenes are not known and neighbours show the same room.",
    homepage="https://github.com/lorenmt/mtan",
    obtain="Get the NYUv2 archive linked from https://github.com/lorenmt/mtan (about 9 GB) and unpack it: the folder "
    "that holds train and val is the source.",
    caveats=(
        "Crop, resampling and stored types were never published, and the code is lost.",
        "Pictures are stored as fractions and become bytes here: an error of at most 0.2 % of the range.",
        "Published tables validate on the test frames; here val is cut from train.",
    ),
)
