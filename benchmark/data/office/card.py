"""What people must know of Office-31 and Office-Home."""

from benchmark.data.card import DataCard

CARD = DataCard(
    title="Office-31 and Office-Home",
    summary="Things of 31 classes in three domains, 4110 pictures, or of 65 classes in four, 15,588 pictures; every "
    "domain is a task with its own pictures.",
    targets={
        "amazon, dslr, webcam": "31 classes of office things: pictures of a shop, of a good and of a cheap camera.",
        "Art, Clipart, Product, Real_World": "65 classes: works of art, drawings, pictures of shops, photographs.",
    },
    sizes="Of many sizes; the whole picture resampled by area to a square.",
    splits="None is official. 'hash': of each class three fifths train, a fifth val, a fifth test, by the hash of the "
    "file's name. 'libmtl': LibMTL's lists, drawn at random in the same shares.",
    licence="For research: Office-31 states no licence; Office-Home is for non-commercial research and education.",
    citation="K. Saenko, B. Kulis, M. Fritz and T. Darrell. Adapting Visual Category Models to New Domains. ECCV 2010. "
    "H. Venkateswara, J. Eusebio, S. Chakraborty and S. Panchanathan. Deep Hashing Network for Unsupervised Domain "
    "Adaptation. CVPR 2017. B. Lin and Y. Zhang. LibMTL. JMLR 2023.",
    homepage="https://github.com/median-research-group/LibMTL/tree/main/examples/office",
    obtain="Office-31: https://faculty.cc.gatech.edu/~judy/domainadapt/ (domain_adaptation_images.tar.gz). "
    "Office-Home: https://www.hemanthdv.org/officeHomeDataset.html. Unpacked, the folder that holds the domains' "
    "folders is the source; for split=libmtl copy LibMTL's examples/office/data_txt into it.",
    caveats=(
        "dslr has 498 pictures, of which a fifth is for test: one picture is a point of accuracy.",
        "dslr and webcam show each thing from several sides, and no split separates things: test holds what train saw.",
        "LibMTL starts from networks that were trained on ImageNet; from scratch, accuracies are far lower.",
    ),
)
