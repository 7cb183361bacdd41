"""The papers that the sharing patterns come from."""

from benchmark.model import ArchitectureCard, Flow

PAPER = "Liu, Johns, Davison. End-to-End Multi-Task Learning with Attention. CVPR 2019"
URL = "https://arxiv.org/abs/1803.10704"
BIBTEX = (
    "@inproceedings{liu2019end, title={End-to-End Multi-Task Learning with Attention}, author={Liu, Shikun and Johns, "
    "Edward and Davison, Andrew J.}, booktitle={IEEE/CVF Conference on Computer Vision and Pattern Recognition}, "
    "year={2019}}"
)


def of_mtan(flow: Flow) -> ArchitectureCard:
    """The card of an architecture of MTAN's paper: its own, or one of its baselines."""
    return ArchitectureCard(PAPER, URL, flow, BIBTEX)
