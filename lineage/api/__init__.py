"""The public functions, over the wiring of this process. Each module is loaded when one of its functions is first used."""
