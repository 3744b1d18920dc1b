"""Random encoders of several families, in the folders that people have."""

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    ModernBertConfig,
    ModernBertModel,
    MPNetConfig,
    MPNetModel,
    RobertaConfig,
    RobertaModel,
)

from embedft.encoder import BUNDLED_PATH

SIZE = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4}


def modernbert(**options):
    return ModernBertModel(ModernBertConfig(vocab_size=30522, pad_token_id=0, local_attention=32, **SIZE, **options))


def bert(**options):
    return BertModel(BertConfig(vocab_size=30522, max_position_embeddings=256, **SIZE, **options))


def roberta():
    return RobertaModel(RobertaConfig(vocab_size=30522, max_position_embeddings=260, **SIZE))


def distilbert():
    return DistilBertModel(
        DistilBertConfig(vocab_size=30522, dim=32, hidden_dim=48, n_layers=2, n_heads=4, max_position_embeddings=256)
    )


def mpnet():
    return MPNetModel(MPNetConfig(vocab_size=30522, max_position_embeddings=260, **SIZE))


def saved(folder, model, *rest, max_length=128):
    """A sentence-transformers folder of random weights that differ enough to tell mistakes."""
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.05)
    model.save_pretrained(folder / "t")
    tokenizer = AutoTokenizer.from_pretrained(BUNDLED_PATH)
    tokenizer.model_max_length = max_length
    tokenizer.save_pretrained(folder / "t")
    modules = [Transformer(str(folder / "t"), max_seq_length=max_length), *(rest or (Pooling(32),))]
    SentenceTransformer(modules=modules, device="cpu").save_pretrained(str(folder / "st"), create_model_card=False)
    return folder / "st"


FAMILIES = {
    "modernbert": modernbert,
    "modernbert with biases": lambda: modernbert(attention_bias=True, mlp_bias=True, norm_bias=True),
    "bert": bert,
    "roberta": roberta,
    "distilbert": distilbert,
    "mpnet": mpnet,
}
