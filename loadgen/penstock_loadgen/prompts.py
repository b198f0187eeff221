"""Invented text of a wanted number of tokens: the same seed and the same id give the same words.

How many tokens a word is depends on the server's tokenizer, which is asked for it before the run (endpoint.calibrate).
"""

from collections import OrderedDict
from random import Random

from penstock_loadgen.sessions import Session, Turn

# Frequent English words of three to five letters: one token each for nearly every tokenizer of the day.
_VOCABULARY = (
    "time year people way day man thing woman life child world school state family student group country problem hand "
    "part place case week company system program question work number night point home water room mother area money "
    "story fact month lot right study book eye job word business issue side kind head house service friend father "
    "power hour game line end member law car city name team minute idea body back parent face level office door "
    "health person art war history party result change morning reason girl guy moment air force river mill wheel "
    "stone field light voice paper ground street table court food land ship wind rain snow tree leaf road wall fire "
    "bank farm king"
)
_WORDS = _VOCABULARY.split()
_PHRASE_WORDS = 8
_PHRASES = [" ".join(Random(number).choices(_WORDS, k=_PHRASE_WORDS)) for number in range(1024)]
_MAX_CACHED_BLOCKS = 4096


class PromptWriter:
    """Writes the texts of one run. `tokens_per_word` and `num_frame_tokens` describe the server: see `Calibration`."""

    def __init__(self, seed: int, tokens_per_word: float = 1.0, num_frame_tokens: float = 0.0) -> None:
        self._seed = seed
        self._tokens_per_word = tokens_per_word
        self._num_frame_tokens = num_frame_tokens  # what the chat template adds to a prompt
        self._blocks: OrderedDict[tuple[str, int], str] = OrderedDict()

    def words(self, key: str, num_tokens: float) -> str:
        """Text of about `num_tokens` tokens, determined by `key`."""
        num_words = max(1, round(num_tokens / self._tokens_per_word))
        random = Random(f"{self._seed} {key}")
        num_phrases, num_more = divmod(num_words, _PHRASE_WORDS)  # drawing word by word takes seven times as long
        return " ".join(random.choices(_PHRASES, k=num_phrases) + random.choices(_WORDS, k=num_more))

    def system_prompt(self, session: Session) -> str:
        """What the whole class begins with; empty if nothing."""
        traffic_class = session.traffic_class
        if traffic_class.system_prompt or not traffic_class.system_prompt_tokens:
            return traffic_class.system_prompt
        return self._block(f"system {session.class_index}", traffic_class.system_prompt_tokens)

    def turn(self, session: Session, turn_index: int) -> str:
        """What the user says now."""
        turn = session.turns[turn_index]
        if turn.text:
            return turn.text
        if session.prefix_ids:
            return self._recorded(session, turn)
        num_frame_tokens = 0.0 if turn_index else self._num_frame_tokens
        return self.words(f"session {session.number} {turn_index}", turn.num_new_tokens - num_frame_tokens)

    def _recorded(self, session: Session, turn: Turn) -> str:
        """A trace's blocks one after another: equal ids at equal places are equal text, and so equal tokens."""
        num_left = turn.num_new_tokens - self._num_frame_tokens
        pieces = []
        for prefix_id in session.prefix_ids:
            if num_left <= 0:
                break
            pieces.append(self._block(f"block {prefix_id}", min(num_left, session.tokens_per_prefix_id)))
            num_left -= session.tokens_per_prefix_id
        if num_left > 0 or not pieces:
            pieces.append(self.words(f"session {session.number}", max(1.0, num_left)))
        return " ".join(pieces)

    def _block(self, key: str, num_tokens: float) -> str:
        """Kept, since it will be asked for again."""
        place = (key, round(num_tokens))
        text = self._blocks.get(place)
        if text is None:
            text = self._blocks[place] = self.words(key, num_tokens)
            if len(self._blocks) > _MAX_CACHED_BLOCKS:
                self._blocks.popitem(last=False)
        else:
            self._blocks.move_to_end(place)
        return text
