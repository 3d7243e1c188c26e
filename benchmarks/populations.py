"""Training populations: network-iterations per second and memory, this project's beside loops in Flax and in PyTorch.

Knows the order of measurements and the report; must not know how the others train. Its options:
`.venv/bin/python -m benchmarks.populations --help`
"""

import argparse
import json
import time
from functools import lru_cache, partial
from importlib.util import find_spec
from statistics import median

from tqdm import tqdm

from benchmarks import OUT, afresh, aligned, circumstances, heading, peak_memory, positive, some_of
from topo import campaign, datasets, machine, training
from topo.files import write_atomically
from topo.notation import Architecture

CASES = {
    "M": ("M(64,32,64)", "mnist"),
    "gray": ("C(64,32,64)", "cifar10-gray"),
    "color": ("C(64,32,64)", "cifar10"),
}
LOOPS = {"ours": "benchmarks.populations", "flax": "benchmarks.flax_loop", "torch": "benchmarks.torch_loop"}
MEMBERS = (1, 10, 50)  # at once, to measure memory; a few members more would not show beside the process itself
_MIB = 2**20
_afresh = partial(afresh, JAX_PLATFORMS="cpu")


@lru_cache(maxsize=1)
def _trainer(architecture, dataset, formulation):
    """A Trainer on noise, compiled once in each process."""
    chosen = training.Training(Architecture.parse(architecture), dataset)
    return training.Trainer(chosen, datasets.stand_in(dataset), formulation)


def _advance(architecture, dataset, formulation, members, iterations):
    """(seconds that `iterations` of all members take once the program is compiled, bytes that the process has held)."""
    trainer = _trainer(architecture, dataset, formulation)
    states = trainer.advance(trainer.initial(members), members, 0, 1)
    start = time.perf_counter()
    trainer.advance(states, members, 1, 1 + iterations)
    return time.perf_counter() - start, peak_memory()


def measure(architecture, dataset, seconds, formulation):
    """As the campaign trains: {"rate": network-iterations per second of all workers, "memory": their bytes together}.

    Each worker advances a chunk of members; all do as many iterations, about `seconds` long, and begin together.
    formulation: a name of training.FORMULATIONS.
    """
    with campaign.dask_client(machine.processors(), None) as client:
        addresses = list(client.nthreads())

        def on_all(iterations):
            chunks = [range(n * campaign.CHUNK, (n + 1) * campaign.CHUNK) for n in range(len(addresses))]
            task = lambda members, address: client.submit(
                _advance, architecture, dataset, formulation, members, iterations, workers=[address], pure=False
            )
            return client.gather([task(*each) for each in zip(chunks, addresses)])

        slowest = max(elapsed for elapsed, _ in on_all(1))
        iterations = max(2, round(seconds / slowest))
        parts = on_all(iterations)
    rate = sum(campaign.CHUNK * iterations / elapsed for elapsed, _ in parts)
    return {"rate": rate, "memory": sum(memory for _, memory in parts)}


def formulations(architecture, dataset):
    """`training.measure` of a network on noise: the seconds of each formulation, and the faster one's name."""
    return training.measure(training.Training(Architecture.parse(architecture), dataset))


def footprint(architecture, dataset, formulation, members):
    """Bytes that training so many members at once takes: [the most that this process held, the compiler's count]."""
    held = _advance(architecture, dataset, formulation, range(members), 2)[1]
    return [held, _trainer(architecture, dataset, formulation).memory(members)]


def slope(members, held):
    """Bytes that each member adds, by least squares."""
    centre = sum(members) / len(members)
    return sum((m - centre) * b for m, b in zip(members, held)) / sum((m - centre) ** 2 for m in members)


def run(names, rounds, seconds):
    """Measure everything, each in a process of its own, the loops in turn so that what disturbs one disturbs all.

    names: of CASES; rounds: how often each loop has its turn; seconds: how long a measurement is.
    Returns what `report` prints and JSON holds.
    """
    installed = [who for who in LOOPS if who != "torch" or find_spec("torch")]
    results = {}
    with tqdm(total=len(names) * (1 + len(MEMBERS) + rounds * len(installed)), unit="measurement") as bar:

        def measured(what, function, *arguments, **environment):
            bar.set_postfix_str(f"{what}, {' '.join(CASES[name])}")
            result = _afresh(function, *arguments, **environment)
            bar.update()
            return result

        for name in names:
            case, own = CASES[name], "benchmarks.populations"
            choice = measured("formulations", f"{own}.formulations", *case, **campaign.WORKER_ENVIRONMENT)
            settings = {"ours": (choice["formulation"],)}
            held = [
                measured(
                    f"{n} members", f"{own}.footprint", *case, choice["formulation"], n, **campaign.WORKER_ENVIRONMENT
                )
                for n in MEMBERS
            ]
            loops = {who: [] for who in installed}
            for _ in range(rounds):
                for who in installed:
                    loops[who].append(measured(who, f"{LOOPS[who]}.measure", *case, seconds, *settings.get(who, ())))
            memory = dict(zip(("process", "compiler"), zip(*held)))
            results[name] = {"case": case, "formulations": choice, "members": MEMBERS, "memory": memory, "loops": loops}
    circumstance = circumstances("jax", "flax", "optax", "numpy", "torch")
    return {**circumstance, "rounds": rounds, "seconds": seconds, "results": results, "table": table(results)}


def ratio(ours, other):
    """How many times as fast ours is: the median over rounds of the ratio within a round."""
    return median(a["rate"] / b["rate"] for a, b in zip(ours, other))


def table(results):
    """{"header", "rows"} of texts, one row for each network and loop; results: as `run` collects them."""
    header = ("network", "trained by", "network-iterations/s", "ours / it", "peak memory")
    rows = []
    for result in results.values():
        network, loops = "{} {}".format(*result["case"]), result["loops"]
        for who in LOOPS:
            if who not in loops:
                rows.append((network, who, "not installed", "", ""))
                continue
            rates = [each["rate"] for each in loops[who]]
            speed = f"{median(rates):.1f} ({min(rates):.1f}-{max(rates):.1f})"
            memory = max(each["memory"] for each in loops[who])
            rows.append((network, who, speed, f"{ratio(loops['ours'], loops[who]):.2f}", f"{memory / _MIB:.0f} MiB"))
    return {"header": header, "rows": rows}


def report(measured):
    """What `run` returned, as text."""
    notes = []
    for result in measured["results"].values():
        network = "{} {}".format(*result["case"])
        each = {kind: slope(result["members"], held) / _MIB for kind, held in result["memory"].items()}
        times = ", ".join(f"{name} {1e3 * s:.1f} ms" for name, s in result["formulations"]["seconds"].items())
        counts = ", ".join(map(str, result["members"]))
        notes.append(
            f"{network}: on one thread {times} a network-iteration, so {result['formulations']['formulation']};"
        )
        notes.append(
            f"  a member more takes {each['process']:.1f} MiB (measured with {counts}), "
            f"{each['compiler']:.1f} MiB by the compiler"
        )
    rounds = f"{measured['rounds']} rounds of {measured['seconds']:g} s, batch {training.Training.batch}"
    return "\n".join([heading(measured), rounds, "", aligned(measured["table"], "<<>>>"), "", *notes])


def main(arguments=None):
    """Measure, print the table, and keep the figures in _build/bench/populations.json."""
    parser = argparse.ArgumentParser(
        prog=".venv/bin/python -m benchmarks.populations", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "--rounds", type=positive(int), default=3, metavar="N", help="how often each loop has its turn (default: 3)"
    )
    parser.add_argument(
        "--seconds", type=positive(float), default=5.0, metavar="S", help="how long a measurement is (default: 5)"
    )
    parser.add_argument(
        "--only", type=some_of(CASES), default=list(CASES), metavar="A,B", help=f"some of {','.join(CASES)}"
    )
    chosen = parser.parse_args(arguments)
    measured = run(chosen.only, chosen.rounds, chosen.seconds)
    path = OUT / "populations.json"
    write_atomically(path, (json.dumps(measured, indent=1) + "\n").encode())
    print(report(measured), f"The same as JSON: {path}", sep="\n\n")


if __name__ == "__main__":
    main()
