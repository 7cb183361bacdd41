"""What people must know of PASCAL-Context with five tasks."""

from benchmark.data.card import DataCard

CARD = DataCard(
    title="PASCAL-Context, with the five tasks of the multi-task literature",
    summary="10,103 photographs of PASCAL VOC 2010 with classes, parts of people, saliency, normals and edges.",
    targets={
        "semantic": "20 classes of PASCAL VOC and the background, from VOC 2012 where it has the picture, else from "
        "PASCAL-Context; −1 unknown, such as along outlines.",
        "human_parts": "The background and 6 groups of PASCAL-Part's 24 parts of people; −1 all over a picture without "
        "any.",
        "saliency": "0 or 100 per cent. Predicted by a network, not labelled by people: maps above one half.",
        "normals": "Unit vectors, predicted by a network that was trained on NYUv2, not measured; the zero vector "
        "where the label of PASCAL-Context is no class of NYUv2. How their axes point is not stated; x changes sign "
        "with the mirror.",
        "edges": "1 where a pixel's right, left, upper or lower neighbour has another of PASCAL-Context's 459 labels, "
        "so that edges are two pixels wide. Derived from the labels as stored here.",
    },
    sizes="Squares, whatever the picture's sides were: pictures by area, targets by the pixel in the middle. The "
    "survey trains on 512×512, stretched too.",
    splits="Test: the official val, 5105 pictures. Train and val: the official train of 4998; every tenth picture of "
    "its list is held out.",
    licence="Photographs from flickr, under flickr's terms of use; annotations of PASCAL VOC, PASCAL-Context and "
    "PASCAL-Part are passed on for research without a licence of their own.",
    citation="S. Vandenhende, S. Georgoulis, W. Van Gansbeke, M. Proesmans, D. Dai and L. Van Gool. Multi-Task "
    "Learning for Dense Prediction Tasks: A Survey. TPAMI 2021. K.-K. Maninis, I. Radosavovic and I. Kokkinos. "
    "Attentive Single-Tasking of Multiple Tasks. CVPR 2019. R. Mottaghi et al. The Role of Context for Object "
    "Detection and Semantic Segmentation in the Wild. CVPR 2014. X. Chen et al. Detect What You Can. CVPR 2014. "
    "M. Everingham et al. The PASCAL Visual Object Classes Challenge. IJCV 2010.",
    homepage="https://github.com/SimonVandenhende/Multi-Task-Learning-PyTorch",
    obtain="Get PASCAL_MT.tgz, whose address https://github.com/SimonVandenhende/Multi-Task-Learning-PyTorch names, "
    "and unpack it: the folder PASCAL_MT is the source.",
    caveats=(
        "Published tables enlarge predictions to each picture's own size and judge them there; here they are judged at "
        "the stored size. Numbers are near theirs at best, also at 512.",
        "They give odsF of edges: thin edges, matched within a distance, at the best threshold. Here F1 counts pixels "
        "where they are, and labels are compared, where the survey takes the Laplacian of their numbers.",
        "The metrics of saliency take the best threshold on the split that they judge, as the literature does.",
        "They train on all 4998 pictures, rotated and scaled at random, and normals by the L1 distance.",
        "Saliency and normals come from other networks: a score measures agreement with these.",
        "Most pictures show no parts of people, and say nothing of them.",
    ),
)
