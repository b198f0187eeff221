"""How the built-in model is made: `python -m training.builtin --minutes 90 --seed 0 --out FOLDER`."""
