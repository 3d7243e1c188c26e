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

from benchmarks import (
    OUT,
    ROOT,
    afresh,
    aligned,
    circumstances,
    earlier,
    heading,
    multiplies_bfloat16,
    peak_memory,
    positive,
    some_of,
)
from topo import campaign, datasets, machine, training
from topo.files import write_atomically
from topo.notation import Architecture

CASES = {  # architecture, data set, whether the network pools
    "M": ("M(64,32,64)", "mnist", True),
    "gray": ("C(64,32,64)", "cifar10-gray", True),
    "color": ("C(64,32,64)", "cifar10", True),
    "unpooled": ("C(48,32,64)", "cifar10", False),
}
LOOPS = {  # who trains: the function, and what it is told besides
    "ours": ("benchmarks.populations.measure", ()),
    "ours before": ("benchmarks.populations.measure", ()),
    "flax": ("benchmarks.flax_loop.measure", ()),
    "torch": ("benchmarks.torch_loop.measure", ()),
    "torch bfloat16": ("benchmarks.torch_loop.measure", (True,)),
}
BEFORE = "0f2700a"  # the last revision before the engine was looked at part by part
MEMBERS = (1, 10, 50)  # at once, to measure memory; a few members more would not show beside the process itself
_MIB = 2**20
_afresh = partial(afresh, JAX_PLATFORMS="cpu")


def _chosen(architecture, dataset, max_pooling):
    return training.Training(Architecture.parse(architecture), dataset, max_pooling=max_pooling)


def label(architecture, dataset, max_pooling):
    """A case in words, such as "C(48,32,64) cifar10, unpooled"."""
    return f"{architecture} {dataset}" + ("" if max_pooling else ", unpooled")


@lru_cache(maxsize=1)
def _trainer(case, formulation):
    """A Trainer on noise, compiled once in each process."""
    return training.Trainer(_chosen(*case), datasets.stand_in(case[1]), formulation)


def _advance(case, formulation, members, iterations):
    """(seconds that `iterations` of all members take once the program is compiled, bytes that the process has held)."""
    trainer = _trainer(case, formulation)
    states = trainer.advance(trainer.initial(members), members, 0, 1)
    start = time.perf_counter()
    trainer.advance(states, members, 1, 1 + iterations)
    return time.perf_counter() - start, peak_memory()


def measure(architecture, dataset, max_pooling, seconds, formulation):
    """As the campaign trains: {"rate": network-iterations per second of all workers, "memory": their bytes together}.

    Each worker advances a chunk of members; all do as many iterations, about `seconds` long, and begin together.
    formulation: a name of training.FORMULATIONS.
    """
    case = architecture, dataset, max_pooling
    with campaign.dask_client(machine.processors(), None) as client:
        addresses = list(client.nthreads())

        def on_all(iterations):
            chunks = [range(n * campaign.CHUNK, (n + 1) * campaign.CHUNK) for n in range(len(addresses))]
            task = lambda members, address: client.submit(
                _advance, case, formulation, members, iterations, workers=[address], pure=False
            )
            return client.gather([task(*each) for each in zip(chunks, addresses)])

        slowest = max(elapsed for elapsed, _ in on_all(1))
        iterations = max(2, round(seconds / slowest))
        parts = on_all(iterations)
    rate = sum(campaign.CHUNK * iterations / elapsed for elapsed, _ in parts)
    return {"rate": rate, "memory": sum(memory for _, memory in parts)}


def formulations(architecture, dataset, max_pooling):
    """`training.measure` of a network on noise: the seconds of each formulation, and the faster one's name."""
    return training.measure(_chosen(architecture, dataset, max_pooling))


def footprint(architecture, dataset, max_pooling, formulation, members):
    """Bytes that training so many members at once takes: [the most that this process held, the compiler's count]."""
    case = architecture, dataset, max_pooling
    held = _advance(case, formulation, range(members), 2)[1]
    return [held, _trainer(case, formulation).memory(members)]


def slope(members, held):
    """Bytes that each member adds, by least squares."""
    centre = sum(members) / len(members)
    return sum((m - centre) * b for m, b in zip(members, held)) / sum((m - centre) ** 2 for m in members)


def missing(engine):
    """{who of LOOPS cannot train here: why}; engine: the folder that `earlier` gives, or None."""
    reasons = {} if engine else {"ours before": "not in this copy"}
    if not find_spec("torch"):
        return {**reasons, "torch": "not installed", "torch bfloat16": "not installed"}
    return reasons if multiplies_bfloat16() else {**reasons, "torch bfloat16": "not on this processor"}


def run(names, rounds, seconds, before=BEFORE):
    """Measure everything, each in a process of its own, the loops in turn so that what disturbs one disturbs all.

    names: of CASES; rounds: how often each loop has its turn; seconds: how long a measurement is; before: the revision
    of the engine that trains as "ours before". Returns what `report` prints and JSON holds.
    """
    with earlier(before) as engine:
        absent = missing(engine)
        results = {name: _measured(name, rounds, seconds, engine, absent) for name in names}
    circumstance = circumstances("jax", "flax", "optax", "numpy", "torch")
    settings = {"rounds": rounds, "seconds": seconds, "before": before}
    return {**circumstance, **settings, "results": results, "table": table(results, absent)}


def _measured(name, rounds, seconds, engine, absent):
    """What `run` measures of one case."""
    case, own = CASES[name], "benchmarks.populations"
    loops = {who: [] for who in LOOPS if who not in absent}
    with tqdm(total=2 + len(MEMBERS) + rounds * len(loops), unit="measurement", desc=label(*case)) as bar:

        def measured(what, function, *arguments, **environment):
            bar.set_postfix_str(what)
            result = _afresh(function, *case, *arguments, **environment)
            bar.update()
            return result

        worker = campaign.WORKER_ENVIRONMENT
        choice = measured("formulations", f"{own}.formulations", **worker)
        held = [measured(f"{n} members", f"{own}.footprint", choice["formulation"], n, **worker) for n in MEMBERS]
        step = measured("one step", "benchmarks.step.measure", **worker)
        for _ in range(rounds):
            for who in loops:
                function, told = LOOPS[who]
                told = (choice["formulation"],) if function.startswith(own) else told
                root = engine if who == "ours before" else ROOT
                loops[who].append(measured(who, function, seconds, *told, root=root))
    memory = dict(zip(("process", "compiler"), zip(*held)))
    about = {"case": case, "formulations": choice, "members": MEMBERS, "memory": memory, "step": step}
    return {**about, "loops": loops}


def ratio(ours, other):
    """How many times as fast ours is: the median over rounds of the ratio within a round."""
    return median(a["rate"] / b["rate"] for a, b in zip(ours, other))


def table(results, absent):
    """{"header", "rows"} of texts, one row for each network and loop; results, absent: as `run` collects them."""
    header = ("network", "trained by", "network-iterations/s", "ours / it", "peak memory")
    rows = []
    for result in results.values():
        network, loops = label(*result["case"]), result["loops"]
        for who in LOOPS:
            if who in absent:
                rows.append((network, who, absent[who], "", ""))
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
        network = label(*result["case"])
        each = {kind: slope(result["members"], held) / _MIB for kind, held in result["memory"].items()}
        times = ", ".join(f"{name} {1e3 * s:.1f} ms" for name, s in result["formulations"]["seconds"].items())
        counts = ", ".join(map(str, result["members"]))
        notes.append(
            f"{network}: on one thread {times} a network-iteration, so {result['formulations']['formulation']};"
        )
        notes.append(
            f"  a member more takes {each['process']:.1f} MiB (measured with {counts}), "
            f"{each['compiler']:.1f} MiB by the compiler;"
        )
        parts = result["step"]["parts"].items()
        spent = ", ".join(f"{part} {1e3 * each['seconds']:.1f}" for part, each in parts)
        products = f"{1e3 * result['step']['products']:.1f} of all in products"
        rate = f"a large product does {result['step']['product'] / 1e9:.0f} GFLOP/s"
        notes.append(f"  one step of one network, in ms: {spent}; {products}; {rate}")
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
    parser.add_argument(
        "--before",
        default=BEFORE,
        metavar="REVISION",
        help=f"of Git, whose engine has its turn, too, where this copy has it (default: {BEFORE})",
    )
    chosen = parser.parse_args(arguments)
    measured = run(chosen.only, chosen.rounds, chosen.seconds, chosen.before)
    path = OUT / "populations.json"
    write_atomically(path, (json.dumps(measured, indent=1) + "\n").encode())
    print(report(measured), f"The same as JSON: {path}", sep="\n\n")


if __name__ == "__main__":
    main()
