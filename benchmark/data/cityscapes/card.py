"""What people must know of Cityscapes."""

from dataclasses import replace

from benchmark.data.card import DataCard

CARD = DataCard(
    title="Cityscapes, finely annotated part",
    summary="3475 street scenes of 21 German, Swiss and French cities, with dense class labels and stereo disparity.",
    targets={
        "semantic": "19, 7 or 2 classes, labelled by people; −1 void, and with 19 classes everything that the official "
        "evaluation ignores. With 2 classes, foreground is human and vehicle, background all else, void included.",
        "disparity": "Inverse depth: the disparity in pixels of the 2048 wide picture, divided by 256; 0 unknown. From "
        "semi-global matching of the stereo pair. Depth in metres is baseline (about 0.2 m) × focal length (about 2262 "
        "pixels) / (256 × disparity).",
    },
    sizes="128×256 or 256×512, from 1024×2048: pictures by area, targets by the pixel in the middle.",
    splits="Test: the official val, 500 pictures of Frankfurt, Lindau and Münster, since the labels of the official "
    "test are withheld. Val: Darmstadt, Krefeld and Ulm, 279 of the 2975 official training pictures. Train: the rest.",
    licence="Cityscapes terms of use: free for research, teaching and personal experiments after registration; no "
    "redistribution of the data.",
    citation="M. Cordts, M. Omran, S. Ramos, T. Rehfeld, M. Enzweiler, R. Benenson, U. Franke, S. Roth and B. Schiele. "
    "The Cityscapes Dataset for Semantic Urban Scene Understanding. CVPR 2016.",
    homepage="https://www.cityscapes-dataset.com",
    obtain="Register at https://www.cityscapes-dataset.com, download leftImg8bit_trainvaltest.zip (11 GB), "
    "gtFine_trainvaltest.zip (241 MB) and disparity_trainvaltest.zip (3.5 GB), and unpack all three into one folder.",
    caveats=(
        "What papers call depth is scaled disparity: its errors have no unit and grow with nearness.",
        "Disparity is unknown in the sky, in occlusions, and along the left border and the car's bonnet.",
        "The relative error is a fraction here; tables give it in per cent.",
        "Published tables validate on the official val, which is the test split here.",
    ),
)

NPY_CARD = replace(
    CARD,
    title="Cityscapes, as preprocessed by the MTAN authors",
    summary="The same 3475 street scenes in the folders of .npy files on which the multi-task literature trains.",
    targets={
        "semantic": CARD.targets["semantic"],
        "disparity": "Inverse depth as in the files, 0 to 0.4922: by all signs the official 16-bit disparity picture "
        "divided by 65535; 0 unknown.",
    },
    sizes="128×256 or 256×512, as in the files; how they were resampled is not known.",
    splits="Test: the folder val, the official val of 500 pictures. Train and val: the folder train, 2975 pictures; "
    "the middle fifty of every five hundred files in a row are held out, since the cities are not known.",
    homepage="https://github.com/lorenmt/mtan",
    obtain="Get the Cityscapes archive of 128×256 (651 MB) or 256×512 (2.42 GB) linked from "
    "https://github.com/lorenmt/mtan, or the one of 256×512 that https://github.com/lorenmt/auto-lambda links, and "
    "unpack it: the folder that holds train and val is the source.",
    caveats=(
        *CARD.caveats,
        "Whether classes that the official evaluation ignores, such as caravan, keep their category in the 7 classes "
        "is not stated.",
        "One user reports far more zeros in the disparity than the official files have.",
        "Pictures are stored as fractions and become bytes here: an error of at most 0.2 % of the range.",
        "Auto-Lambda's files are other pictures than MTAN's of that size; their hashes tell them apart.",
    ),
)
