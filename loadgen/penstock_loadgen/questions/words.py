"""The closed vocabulary of questions, answers and stories."""

COLOURS = {
    "red": ((200, 50, 50), (255, 0, 0)),
    "green": ((50, 160, 70), (0, 128, 0)),
    "blue": ((60, 90, 210), (0, 0, 255)),
    "yellow": ((230, 205, 60), (255, 255, 0)),
    "purple": ((140, 70, 170), (128, 0, 128)),
    "orange": ((235, 145, 50), (255, 165, 0)),
}
"""Two tones of each; a figure has one in between."""

SHAPES = ("circle", "square", "triangle", "cross")
PLACES = {
    "left": (0.17, 0.5),
    "right": (0.83, 0.5),
    "top": (0.5, 0.17),
    "bottom": (0.5, 0.83),
    "middle": (0.5, 0.5),
}
"""Where each is, as shares of width and height."""

MAX_COUNT = 5
DIGITS = "0123456789"

KEYS = (
    *("river", "garden", "window", "bridge", "castle", "forest", "island", "lantern", "market", "mountain"),
    *("harbor", "tower", "valley", "meadow", "temple", "engine", "anchor", "basket", "candle", "desert"),
    *("feather", "glacier", "hammer", "jacket", "kettle", "ladder", "magnet", "needle", "ocean", "pencil"),
    *("quarry", "rocket", "saddle", "tunnel", "violin", "wagon", "barrel", "canyon", "dragon", "emerald"),
    *("falcon", "guitar", "hollow", "ivory", "jungle", "kitchen", "lemon", "mirror", "nickel", "orchard"),
    *("pepper", "ribbon", "shovel", "thunder", "umbrella", "velvet", "walnut", "whistle", "zipper", "copper"),
)
"""What has a code. None of them occurs in a story."""

HEROES = ("fox", "cat", "dog", "bear", "mouse", "owl", "frog", "rabbit", "duck", "goat")
NAMES = ("Tom", "Anna", "Max", "Lily", "Ben", "Mia", "Sam", "Zoe", "Leo", "Ida")
TRAITS = ("little", "small", "brave", "happy", "sleepy", "clever", "hungry", "kind", "quiet", "funny")
SETTINGS = ("wood", "field", "house", "village", "barn", "park", "lake", "hill", "cave", "town")
THINGS = ("ball", "hat", "book", "cake", "apple", "stone", "leaf", "boat", "drum", "kite")
FEELINGS = ("glad", "sad", "proud", "tired", "surprised", "calm", "cold", "warm")
