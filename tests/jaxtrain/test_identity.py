"""Training gives the same bits under other instruction sets, optimisers, cores, carriers and devices.

Each configuration is a process of its own, since XLA reads its flags once. A few run with every test; the
rest, marked slow, are `make identity`. All are compared with digests that the oracle, which is plain Python,
gives too.
"""

import json
import os
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import get_args

import oracle_training
import pytest
from kinds import KINDS

import p2pai
from p2pai.jaxtrain.exact.carrier import Carrier

ROOT = str(Path(p2pai.__file__).parent.parent)
PROGRAM = Path(__file__).with_name("digest_program.py")
IS_X86 = platform.machine() == "x86_64"

GOLDEN = {
    "dense": "318df84a995e529cf1d700497db85a210cc9edd1468e8a230da932f9842fb554",
    "dense, 7 bits": "53fc16c4156a2c7c28a2e53fafb4b5e02b7ed276f993d93decb347db37396417",
    "activations": "deff41f3536feb4f1fcadf47310374c29b31dad332e93afda04ca721c6c1f364",
    "images": "a0b78d29806641a168cf7f6e89dca9302bb37cf43839c0f1226cc2ad86f4201a",
    "images, 7 bits": "9f9b40bdb46ff8468900a4da580ec4015c324ecec9e10207503a0fcd19331a03",
    "residual": "9e244ff6279dff966b7f45434f7dc93f278512d806b45d81ca363df504e06dff",
    "two classes": "61412a419682d0599df9589451bbcfbec1d347c38cb2089b29e44816ca1282e6",
    "squares": "1026aafb0757cc8dd35c30b77912d7931cdc7bb1cd70a0bc6e8735fa71d1e950",
    "distances": "da3b1fab151dd701a23d533f833e3f332392357c7acf6bca66fccffea460aaa8",
}
"""Frozen: a change of one of these digests is a change of the protocol."""

FEW = ("dense", "images, 7 bits", "images")
"""Kinds that the quick configurations train: both mantissas, images, normalisation, dropout, Adam."""

OLDEST = "--xla_cpu_max_isa=SSE4_2"
QUICK = {
    "default": {},
    "oldest instructions, float64": {"XLA_FLAGS": OLDEST, "CARRIER": "float64"},
    "unoptimised, one core, float32": {
        "XLA_FLAGS": "--xla_backend_optimization_level=0",
        "ONE_CORE": "1",
        "CARRIER": "float32",
    },
    "fast mathematics": {
        "XLA_FLAGS": "--xla_cpu_enable_fast_math=true --xla_cpu_fast_math_honor_nans=false "
        "--xla_cpu_fast_math_honor_infs=false --xla_cpu_fast_math_honor_division=false "
        "--xla_cpu_fast_math_honor_functions=false --xla_cpu_enable_fast_min_max=true"
    },
}

FLAGS = {
    "SSE4.2": "--xla_cpu_max_isa=SSE4_2",
    "AVX": "--xla_cpu_max_isa=AVX",
    "AVX2": "--xla_cpu_max_isa=AVX2",
    "AVX-512": "--xla_cpu_max_isa=AVX512",
    "AVX-512 with VNNI": "--xla_cpu_max_isa=AVX512_VNNI",
    "AVX-512 with BF16": "--xla_cpu_max_isa=AVX512_BF16",
    "vectors of 128 bits": "--xla_cpu_prefer_vector_width=128",
    "vectors of 512 bits": "--xla_cpu_prefer_vector_width=512",
    "optimised less": "--xla_backend_optimization_level=1",
    "optimised more": "--xla_backend_optimization_level=3",
    "no expensive passes": "--xla_llvm_disable_expensive_passes=true",
    "fast mathematics alone": "--xla_cpu_enable_fast_math=true",
    "fast minimum and maximum": "--xla_cpu_enable_fast_min_max=true",
    "denormals flushed": "--xla_cpu_ftz=true",
    "denormals kept": "--xla_cpu_ftz=false",
    "no excess precision": "--xla_allow_excess_precision=false",
    "no threads in products": "--xla_cpu_multi_thread_eigen=false",
    "compiled in one piece": "--xla_cpu_parallel_codegen_split_count=1",
    "no fusion emitters": "--xla_cpu_use_fusion_emitters=false",
    "other runtime": "--xla_cpu_use_thunk_runtime=false",
    "XNNPACK": "--xla_cpu_use_xnnpack=true",
    "oneDNN": "--xla_cpu_use_onednn=true --xla_cpu_experimental_onednn_custom_call=true",
    "mathematics of the platform": "--xla_cpu_enable_platform_dependent_math=true",
    "strict products": "--xla_cpu_strict_dot_conv_math=true",
    "another schedule": "--xla_cpu_enable_concurrency_optimized_scheduler=true",
}
"""Flags of jaxlib 0.10; a version that does not know one is not tried with it."""

MATRIX = {
    "as it comes": {},
    **{name: {"XLA_FLAGS": flags} for name, flags in FLAGS.items()},
    "bfloat16": {"CARRIER": "bfloat16"},
    "float32": {"CARRIER": "float32"},
    "float64": {"CARRIER": "float64"},
    "one core": {"ONE_CORE": "1"},
    "three threads": {"NPROC": "3"},
    "sixteen threads": {"NPROC": "16"},
    "SSE4.2, unoptimised, bfloat16, one core": {
        "XLA_FLAGS": f"{OLDEST} --xla_backend_optimization_level=0",
        "CARRIER": "bfloat16",
        "ONE_CORE": "1",
    },
    "AVX2, fast mathematics, float32": {
        "XLA_FLAGS": "--xla_cpu_max_isa=AVX2 --xla_cpu_enable_fast_math=true",
        "CARRIER": "float32",
    },
    "AVX2, one core, bfloat16": {
        "XLA_FLAGS": "--xla_cpu_max_isa=AVX2",
        "CARRIER": "bfloat16",
        "ONE_CORE": "1",
    },
    "AVX, denormals flushed, float64": {
        "XLA_FLAGS": "--xla_cpu_max_isa=AVX --xla_cpu_ftz=true",
        "CARRIER": "float64",
    },
    "op by op": {"JIT": "0", "KINDS": ";".join(FEW)},
}

GPU_FLAGS = {
    "default": "",
    "deterministic": "--xla_gpu_deterministic_ops=true",
    "no autotuning": "--xla_gpu_autotune_level=0",
}


def run(changes, wanted="cpu", timeout_s=3600):
    """Return what the program prints in a process of its own; None where it doesn't know a flag."""
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    environment |= {"JAX_PLATFORMS": wanted, "PYTHONPATH": ROOT, **changes}
    done = subprocess.run(
        [sys.executable, str(PROGRAM)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    if "Unknown flag" in done.stderr:
        return None
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def run_all(configurations):
    """Run processes side by side, two at a time."""
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(configurations, pool.map(run, configurations.values()), strict=True))


def usable(configurations):
    return {n: c for n, c in configurations.items() if IS_X86 or "max_isa" not in c.get("XLA_FLAGS", "")}


@pytest.mark.parametrize("kind", KINDS)
def test_the_oracle_gives_the_golden_digest(kind):
    assert oracle_training.digest(kind) == GOLDEN[kind]


def test_exact_training_has_one_digest():
    kinds = {"KINDS": ";".join(FEW)}
    found = run_all({name: {**changes, **kinds} for name, changes in usable(QUICK).items()})
    for name, digests in found.items():
        assert digests == {kind: GOLDEN[kind] for kind in FEW}, name


@pytest.mark.skipif(not IS_X86, reason="needs two instruction sets")
def test_inexact_training_has_several_so_the_comparison_can_fail():
    found = run_all({flags: {"XLA_FLAGS": flags, "INEXACT": "1"} for flags in ("", OLDEST)})
    newest, oldest = found[""], found[OLDEST]
    assert newest["native"] != oldest["native"]
    assert newest["dense"] != oldest["dense"]


@pytest.mark.slow
@pytest.mark.parametrize("name", usable(MATRIX))
def test_every_configuration_has_the_same_digests(name):
    found = run(MATRIX[name])
    if found is None:
        pytest.skip("this version of jaxlib does not know the flag")
    assert found == {kind: GOLDEN[kind] for kind in found}
    assert found


@pytest.fixture(scope="module")
def needs_gpu():
    """Skip where JAX finds no GPU."""
    environment = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "JAX_PLATFORMS")}
    program = "import jax; jax.devices('gpu')"
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=False)
    if done.returncode:
        pytest.skip("JAX finds no GPU here")


@pytest.mark.gpu
@pytest.mark.parametrize("flags", GPU_FLAGS)
def test_a_gpu_has_the_same_digests(needs_gpu, flags):
    assert run({"XLA_FLAGS": GPU_FLAGS[flags]}, wanted="cuda,cpu") == GOLDEN


@pytest.mark.gpu
@pytest.mark.parametrize("carrier", get_args(Carrier))
def test_a_gpu_has_the_same_digests_by_every_carrier(needs_gpu, carrier):
    assert run({"CARRIER": carrier}, wanted="cuda,cpu") == GOLDEN
