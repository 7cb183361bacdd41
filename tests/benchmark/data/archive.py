"""Writes small archives in exactly the official format of the Visual Decathlon."""

import json

import numpy as np
from PIL import Image

from benchmark.data.decathlon import facts

#: Height and width of the pictures in turn; official ones have a shorter side of 72, some of 73.
SHAPES = ((72, 96), (72, 72), (110, 72), (73, 200))
#: By official split, pictures per class.
COUNTS = {"train": 10, "val": 4, "test": 4}


def write_archive(folder, sets=("aircraft", "gtsrb", "daimlerpedcls"), classes=2, counts=COUNTS):
    """``annotations`` and ``data`` of some sets, each with its first classes; a class is told by its colour."""
    for name in sets:
        first = facts()[name].first_category
        number = first // 10**7 * 10**7 + 200_001
        categories = [
            {"id": first + c, "name": f"{name} {c}", "supercategory": name} for c in range(facts()[name].classes)
        ]
        for split, count in counts.items():
            images, annotations = [], []
            for i in range(classes * count):
                label = i % classes
                where = "test" if split == "test" else f"{split}/{label + 1:04}"
                file = f"data/{name}/{where}/{i + 1:06}.jpg"
                height, width = SHAPES[i % len(SHAPES)]
                images.append({"id": number, "width": width, "height": height, "file_name": file})
                annotations.append(
                    {
                        "id": number, "image_id": number, "category_id": first + label, "segmentation": [], "area": 0,
                        "bbox": [], "iscrowd": 0,
                    }
                )  # fmt: skip
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(picture(label, height, width, number)).save(folder / file, quality=95)
                number += 1
            content = {"info": {}, "licenses": [], "images": images, "categories": categories}
            if split != "test":
                content["annotations"] = annotations
            ending = "test_stripped" if split == "test" else split
            (folder / "annotations").mkdir(exist_ok=True)
            (folder / "annotations" / f"{name}_{ending}.json").write_text(json.dumps(content))
    return folder


def picture(label, height, width, number):
    """Red rises with the row, green with the column, blue tells the class; (H, W, 3) uint8."""
    rows, columns = np.mgrid[:height, :width]
    blue = np.full((height, width), 60 + 120 * label + number % 7)
    return np.stack([rows, columns, blue], -1).astype(np.uint8)
