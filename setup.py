"""Where the two packages lie; everything else is in pyproject.toml."""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["minigrad", "minigrad.*"]),
        *find_packages("kernels", include=["minigrad_kernels", "minigrad_kernels.*"]),
    ],
    py_modules=["pytest_minigrad"],
    package_dir={"minigrad_kernels": "kernels/minigrad_kernels"},
    package_data={
        "minigrad": ["py.typed", "**/*.html"],
        "minigrad_kernels": ["py.typed", "**/*.cu", "**/*.cuh", "**/*.h", "**/*.json"],
    },
)
