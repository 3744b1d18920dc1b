"""Back-translation with real models of two families, small and random: order, batches, languages, faults."""

from random import Random

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    M2M100Config,
    M2M100ForConditionalGeneration,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from embedft.data.translate import Translator, back_translate
from embedft.errors import ModelError

# A language of six words; the way back says two of them in other words.
THERE = dict(
    zip(
        ["water", "the", "tomatoes", "early", "in", "morning"],
        ["giesse", "die", "tomaten", "bald", "am", "morgen"],
        strict=True,
    )
)
BACK = {**{own: word for word, own in THERE.items()}, "giesse": "sprinkle", "bald": "soon"}
WORDS = list(dict.fromkeys([*THERE, *BACK, *BACK.values(), "translate", "English", "to", "German:"]))
SMALL = {"d_model": 48, "d_kv": 12, "d_ff": 96, "num_layers": 1, "num_heads": 4, "dropout_rate": 0.0}
TEXTS = ["water the tomatoes", "early in the morning", "the morning", "water", "in morning water tomatoes early"]
STEPS, BATCH = 200, 64


def tokenizer(extra=()):
    vocabulary = {word: n for n, word in enumerate(["<pad>", "</s>", "<unk>", *WORDS, *extra])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    names = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=32, **names)


def trained(words, folder, prefix=""):
    """A small T5 that has learned to translate word by word."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # steps this small lose more by waiting for each other
    torch.manual_seed(1)
    random = Random(1)
    split_up = tokenizer()
    model = T5ForConditionalGeneration(T5Config(vocab_size=len(split_up), decoder_start_token_id=0, **SMALL))
    adam = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(STEPS):
        texts = [random.choices(list(words), k=random.randint(1, 5)) for _ in range(BATCH)]
        inputs = split_up([prefix + " ".join(text) for text in texts], return_tensors="pt", padding=True)
        labels = split_up([" ".join(words[word] for word in text) for text in texts], return_tensors="pt", padding=True)
        loss = model(**inputs, labels=labels.input_ids.masked_fill(labels.input_ids == 0, -100)).loss
        adam.zero_grad()
        loss.backward()
        adam.step()
    torch.set_num_threads(threads)
    model.save_pretrained(folder)
    split_up.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return [trained(words, tmp_path_factory.mktemp("t5")) for words in (THERE, BACK)]


def test_texts_come_back_in_other_words_and_in_order(folders, tmp_path):
    there, back = map(Translator, folders)
    assert back_translate(TEXTS, 1, there, back, cache=tmp_path / "kept") == [
        ["sprinkle the tomatoes"],
        ["soon in the morning"],
        ["the morning"],
        ["sprinkle"],
        ["in morning sprinkle tomatoes soon"],
    ]


def test_several_copies_are_sampled_by_seed(folders, tmp_path):
    there, back = map(Translator, folders)
    made = back_translate(TEXTS, 3, there, back, cache=tmp_path / "one", seed=5)
    assert [len(copies) for copies in made] == [3] * len(TEXTS)
    assert made == back_translate(TEXTS, 3, there, back, cache=tmp_path / "two", seed=5)
    # The model is sure of itself, so most samples are its best answer.
    assert made[3].count("sprinkle") >= 2


def test_what_was_translated_is_kept(folders, tmp_path):
    there, back = map(Translator, folders)
    back_translate(TEXTS[:3], 1, there, back, cache=tmp_path / "kept")
    lines = (tmp_path / "kept").read_text().splitlines()
    assert len(lines) == 3
    made = back_translate(TEXTS, 1, there, back, cache=tmp_path / "kept")
    assert made[0] == ["sprinkle the tomatoes"]
    assert (tmp_path / "kept").read_text().splitlines()[:3] == lines
    assert len((tmp_path / "kept").read_text().splitlines()) == len(TEXTS)


def test_t5_is_told_the_languages_in_words(tmp_path):
    folder = trained(THERE, tmp_path, prefix="translate English to German: ")
    translator = Translator(folder, "en", "de")
    assert translator.translate(["water the tomatoes"], 1, seed=0) == [["giesse die tomaten"]]


def test_a_model_of_many_languages_starts_with_the_code_of_the_target(tmp_path):
    codes = ("__en__", "__de__")
    size = len(WORDS) + 3 + len(codes)
    torch.manual_seed(3)
    sizes = {"encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    config = M2M100Config(
        vocab_size=size, d_model=32, encoder_ffn_dim=64, decoder_ffn_dim=64, pad_token_id=0, eos_token_id=1, **sizes
    )
    config.bos_token_id = config.decoder_start_token_id = 1
    M2M100ForConditionalGeneration(config).save_pretrained(tmp_path)
    known = tokenizer(codes)
    known.add_special_tokens({"additional_special_tokens": list(codes)})
    known.save_pretrained(tmp_path)
    translator = Translator(str(tmp_path))
    translator.tokenizer.src_lang = None
    translator._choose("en", "de")
    assert translator.tokenizer.src_lang == "en"
    target = translator.tokenizer.convert_tokens_to_ids("__de__")
    assert translator.options == {"forced_bos_token_id": target}
    with pytest.raises(ModelError, match="does not know the language 'xx'"):
        translator._choose("en", "xx")


def test_a_model_of_one_way_takes_no_languages(tmp_path):
    sizes = {"encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    config = BartConfig(vocab_size=len(WORDS) + 3, d_model=32, encoder_ffn_dim=64, decoder_ffn_dim=64, **sizes)
    BartForConditionalGeneration(config).save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="takes no languages"):
        Translator(str(tmp_path), "en", "zz")
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:500])
    with pytest.raises(ModelError, match="cannot be loaded"):
        Translator(str(tmp_path))


def test_what_is_no_translation_model_says_so(tmp_path):
    with pytest.raises(ModelError, match="cannot be loaded as a translation model"):
        Translator(str(tmp_path))
    with pytest.raises(ModelError, match="cannot be loaded as a translation model"):
        Translator("no/such-model")
