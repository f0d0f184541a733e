"""Benchmarks of ``pyasmg.mtl``."""
