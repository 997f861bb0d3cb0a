"""The mini model's tokenizer and UMT5 encoder: making, loading, encoding prompts."""
import os
import torch
from transformers import UMT5Config, UMT5EncoderModel

WIDTH, ROWS = 128, 512


def create(vocabulary):
    torch.manual_seed(2)
    return UMT5EncoderModel(UMT5Config(
        vocab_size=vocabulary, d_model=WIDTH, d_kv=32, d_ff=256, num_layers=2, num_decoder_layers=2,
        num_heads=4, feed_forward_proj="gated-gelu", dropout_rate=0.0, tie_word_embeddings=True,
        pad_token_id=0, eos_token_id=1, decoder_start_token_id=0))


class Pieces:
    """Sentencepiece ids as the published tokenizer gives them: pieces, then </s> (1); padding 0."""

    def __init__(self, path):
        import sentencepiece
        self.processor = sentencepiece.SentencePieceProcessor(model_file=path)

    def __len__(self):
        return self.processor.get_piece_size()

    def batch(self, texts, longest=ROWS):
        rows = [self.processor.encode(" ".join(t.split()))[:longest - 1] + [1] for t in texts]
        width = max(len(r) for r in rows)
        ids = torch.zeros(len(rows), width, dtype=torch.long)
        mask = torch.zeros(len(rows), width, dtype=torch.long)
        for k, row in enumerate(rows):
            ids[k, :len(row)] = torch.tensor(row)
            mask[k, :len(row)] = 1
        return ids, mask


def load(folder, device="cpu"):
    """(pieces, encoder) from a directory with tokenizer/spiece.model and text_encoder/."""
    pieces = Pieces(os.path.join(folder, "tokenizer", "spiece.model"))
    encoder = UMT5EncoderModel.from_pretrained(os.path.join(folder, "text_encoder"), dtype=torch.float32)
    return pieces, encoder.eval().to(device)


@torch.no_grad()
def encode(pieces, encoder, texts):
    """Rows [B, L, WIDTH] with zeros after each text's end, and the row counts [B]."""
    device = next(encoder.parameters()).device
    ids, mask = (x.to(device) for x in pieces.batch(texts))
    rows = encoder(ids, attention_mask=mask).last_hidden_state
    return rows * mask[..., None], mask.sum(dim=1)
