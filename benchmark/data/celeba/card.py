"""What people must know of CelebA."""

from benchmark.data.card import DataCard

CARD = DataCard(
    title="CelebFaces Attributes (CelebA), aligned and cropped",
    summary="202,599 photographs of the faces of 10,177 celebrities, and whether each of 40 attributes holds.",
    targets={"attributes": "Each a task of its own: yes or no, as annotated by people hired for it."},
    sizes="The whole picture of 178×218 pixels resampled by area to a square, as Sener & Koltun (NeurIPS 2018) did to "
    "64×64.",
    splits="The official ones: 162,770 pictures to train, 19,867 val and 19,962 test, without a person in two of them.",
    licence="For non-commercial research; no redistribution of the pictures, which belong to others (CelebA agreement "
    "on the official page).",
    citation="Z. Liu, P. Luo, X. Wang and X. Tang. Deep Learning Face Attributes in the Wild. ICCV 2015.",
    homepage="https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
    obtain="Get img_align_celeba.zip (1.4 GB), list_attr_celeba.txt and list_eval_partition.txt from "
    "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html and unpack the zip beside the lists: that folder is the "
    "source.",
    caveats=(
        "Attributes are rare (Bald: one picture in forty) or common: accuracy alone says little, see balanced accuracy "
        "and F1.",
        "Many labels are a matter of taste (Attractive, Young), and several are known to be noisy.",
        "F1 is the mean of both answers' here; papers that give one of yes alone do not compare.",
    ),
)
