"""JAX's settings for programs that are over sooner than they are compiled: smoke runs and tests."""

from importlib.metadata import PackageNotFoundError, version

#: XLA's flags for the CPU by releases of jaxlib: XLA ends a process whose flags it doesn't know.
CPU_FLAGS = {
    "0.10.": (
        "use_fusion_emitters=false",
        "parallel_codegen_split_count=1",
        "enable_concurrency_optimized_scheduler=false",
    )
}


def quick_settings() -> dict[str, str]:
    """Environment variables with which JAX compiles in less than half the time, and programs that run slower.

    They are read when JAX is imported. Results differ from the usual ones by rounding.
    """
    try:
        release = version("jaxlib")
    except PackageNotFoundError:
        return {}
    settings = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    for known, flags in CPU_FLAGS.items():
        if release.startswith(known):
            settings["XLA_FLAGS"] = " ".join(f"--xla_cpu_{flag}" for flag in flags)
    return settings
