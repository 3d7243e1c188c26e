"""How much accuracy JPEG costs: images that networks never saw, judged as they are and compressed.

Most of the CIFAR-10 test images that older archives were judged on had been compressed by JPEG. Here is what that does
to networks that were trained on images which had not: `.venv/bin/python -m benchmarks.compression --help`
"""

import argparse
import io
import json

import numpy as np

from benchmarks import OUT, aligned, circumstances, heading, positive
from topo import campaign, checkpoints, datasets, populations, training
from topo.files import write_atomically


def compressed(images, quality):
    """Colour images, uint8 of shape (images, height, width, 3), after JPEG at a quality from 1 to 95."""
    from PIL import Image

    def through(image):
        file = io.BytesIO()
        Image.fromarray(image).save(file, "jpeg", quality=quality)
        return np.asarray(Image.open(file))

    return np.stack([through(image) for image in images])


def _trained(plan, folder):
    """The Chunks of a Plan's networks at its end; they are trained where `folder` has no checkpoints of them."""
    campaign.train(plan, folder=folder)
    for start in range(0, plan.networks, campaign.CHUNK):
        members = range(start, min(start + campaign.CHUNK, plan.networks))
        path = checkpoints.checkpoint_path(plan.training, members, folder)
        trainer = training.Trainer(plan.training, formulation=checkpoints.formulation_of(path) or "fused")
        yield checkpoints.Chunk(trainer, members, path).run(plan.iterations, plan.snapshots)


def run(names, quality, folder=checkpoints.CHECKPOINTS):
    """Judge the networks of populations on the images that were held out, as they are and compressed.

    names: of populations.POPULATIONS that learn from CIFAR-10 and hold images out; folder: of checkpoints.
    Returns what `report` prints and JSON holds.
    """
    colour = datasets.cifar10()
    results = {}
    for name in names:
        plan = populations.plan(name)
        count = plan.training.hold_out
        plain = colour.train_images[-count:]
        packed = compressed(plain, quality)
        in_gray = plan.training.dataset == "cifar10-gray"
        judged = {text: datasets.gray(each) if in_gray else each for text, each in (("plain", plain), ("jpeg", packed))}
        accuracy = {text: [] for text in judged}
        for chunk in _trained(plan, folder):
            for text, images in judged.items():
                values = chunk.trainer.accuracy(chunk.states, images, colour.train_labels[-count:])
                accuracy[text] += values.tolist()
        error = float(np.abs(plain.astype(float) - packed).mean())
        results[name] = {"images": count, "error": error, "accuracy": accuracy}
    return {**circumstances("jax", "flax", "pillow"), "quality": quality, "results": results}


def report(measured):
    """The text that is printed."""
    rows = []
    for name, result in measured["results"].items():
        plain, jpeg = (100 * np.mean(result["accuracy"][text]) for text in ("plain", "jpeg"))
        rows.append((name, f"{result['error']:.1f}", f"{plain:.1f}", f"{jpeg:.1f}", f"{jpeg - plain:+.1f}"))
    header = ("population", "mean error of 255", "as they are, %", f"JPEG {measured['quality']}, %", "points")
    return f"{heading(measured)}\n\n{aligned({'header': header, 'rows': rows}, '<>>>>')}"


def main():
    parser = argparse.ArgumentParser(
        prog=".venv/bin/python -m benchmarks.compression", description=__doc__.split("\n")[0]
    )
    known = [name for name, plan in populations.POPULATIONS.items() if plan.training.hold_out]
    parser.add_argument("names", nargs="+", choices=known, metavar="NAME", help=f"of {', '.join(known)}")
    parser.add_argument("--quality", type=positive(int), default=75, help="of the compression (default: 75)")
    arguments = parser.parse_args()
    measured = run(arguments.names, arguments.quality)
    print(report(measured))
    path = OUT / "compression.json"
    write_atomically(path, (json.dumps(measured, indent=1) + "\n").encode())
    print(f"\n{path}")


if __name__ == "__main__":
    main()
