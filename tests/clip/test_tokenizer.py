"""CLIP's tokenizer on a part of its vocabulary."""

import open_clip
import pytest

from pyasmg.clip._tokenizer import PrunedTokenizer

VOCABULARY = ["a</w>", "blur", "photo</w>", "red</w>", "cat</w>"]


def test_numbers():
    tokenizer = PrunedTokenizer(VOCABULARY, 6)
    assert (tokenizer.vocab_size, tokenizer.sot_token_id, tokenizer.eot_token_id) == (8, 6, 7)
    assert tokenizer(["", "A  Photo", "a red photo a"]).tolist() == [
        [6, 7, 0, 0, 0, 0],
        [6, 1, 3, 7, 0, 0],
        [6, 1, 4, 3, 1, 7],
    ]
    assert tokenizer("a photo").tolist() == [[6, 1, 3, 7, 0, 0]]
    whole = open_clip.SimpleTokenizer()
    assert [whole.decoder[number] for number in whole.encode("a photo")] == ["a</w>", "photo</w>"]


def test_hostile_texts():
    tokenizer = PrunedTokenizer(VOCABULARY, 6)
    with pytest.raises(ValueError, match="'a photo of a': the pruned vocabulary has no 'of'"):
        tokenizer(["a photo of a"])
    with pytest.raises(ValueError, match="'a a a a a' has 7 tokens; there is room for 6"):
        tokenizer(["a a a a a"])
