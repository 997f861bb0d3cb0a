"""Trains the tokenizer and the UMT5 text encoder on captions alone, in about two minutes.

  train_text.py --work DIR/text [--steps 2500]

The encoder learns to tell, from the mean of its token rows, which object, colour, scene, time and
motion a caption names, or that it names none. It is frozen afterwards. Writes DIR/text/out with
tokenizer/ and text_encoder/. Resumable (state.pt); the log is text.csv.
"""
import argparse
import csv
import io
import os
import time
import numpy as np
import torch
import captions
import scenes
import text_model

HEADS = (("object", scenes.OBJECTS), ("colour", scenes.COLOURS), ("scene", scenes.SCENES),
         ("time", scenes.TIMES), ("motion", scenes.MOTIONS))


def train_tokenizer(path):
    import sentencepiece
    rng = np.random.default_rng(21)
    texts = [captions.caption(scenes.random_spec(rng), rng)[0] for _ in range(30000)]
    texts += ["a photo of a dog running on the street", "two people walk and talk in a small room",
              "the big house with windows and a door, cinematic, high quality, detailed"] * 20
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=out, vocab_size=450, model_type="unigram",
        byte_fallback=True, character_coverage=1.0, pad_id=0, eos_id=1, bos_id=2, unk_id=3,
        pad_piece="<pad>", eos_piece="</s>", bos_piece="<s>", unk_piece="<unk>",
        normalization_rule_name="nmt_nfkc_cf", num_threads=1, minloglevel=2)
    with open(path, "wb") as f:
        f.write(out.getvalue())


def labels_of(spec, named):
    return [options.index(getattr(spec, name)) if name in named else len(options) for name, options in HEADS]


def make_batch(rng, size, held_out=False):
    texts, labels = [], []
    for _ in range(size):
        spec = scenes.random_spec(rng, held_out)
        text, named = captions.caption(spec, rng)
        texts.append(text)
        labels.append(labels_of(spec, named))
    return texts, torch.tensor(labels)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", required=True)
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    out = os.path.join(args.work, "out")
    os.makedirs(os.path.join(out, "tokenizer"), exist_ok=True)
    spiece = os.path.join(out, "tokenizer", "spiece.model")
    if not os.path.exists(spiece):
        train_tokenizer(spiece)
    pieces = text_model.Pieces(spiece)
    encoder = text_model.create(len(pieces)).to(args.device)
    heads = torch.nn.ModuleList(torch.nn.Linear(text_model.WIDTH, len(o) + 1) for _, o in HEADS).to(args.device)
    parameters = list(encoder.parameters()) + list(heads.parameters())
    optimiser = torch.optim.AdamW(parameters, lr=2e-3, weight_decay=0.01)
    state_path, step = os.path.join(args.work, "state.pt"), 0
    rng = np.random.default_rng(22)
    if os.path.exists(state_path):
        state = torch.load(state_path, weights_only=False, map_location=args.device)
        encoder.load_state_dict(state["encoder"])
        heads.load_state_dict(state["heads"])
        optimiser.load_state_dict(state["optimiser"])
        step, rng = state["step"], state["rng"]

    def logits_of(texts):
        ids, mask = (x.to(args.device) for x in pieces.batch(texts))
        rows = encoder(ids, attention_mask=mask).last_hidden_state * mask[..., None]
        mean = rows.sum(dim=1) / mask.sum(dim=1, keepdim=True)
        return [head(mean) for head in heads]

    log = open(os.path.join(args.work, "text.csv"), "a", newline="")
    writer, started, means = csv.writer(log), time.time(), []
    while step < args.steps:
        rate = 2e-3 * min(1, (step + 1) / 100) * max(0.02, 1 - step / args.steps)
        for group in optimiser.param_groups:
            group["lr"] = rate
        texts, labels = make_batch(rng, args.batch)
        labels = labels.to(args.device)
        loss = sum(torch.nn.functional.cross_entropy(l, labels[:, k]) for k, l in enumerate(logits_of(texts)))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        step += 1
        means.append(loss.item())
        if step % 50 == 0:
            writer.writerow([step, f"{np.mean(means):.5f}", f"{time.time() - started:.0f}"])
            log.flush()
            means = []
        if step % 500 == 0 or step == args.steps:
            torch.save(dict(encoder=encoder.state_dict(), heads=heads.state_dict(), step=step, rng=rng,
                            optimiser=optimiser.state_dict()), state_path)
            print("step", step, f"{time.time() - started:.0f} s", flush=True)
    with torch.no_grad():
        texts, labels = make_batch(np.random.default_rng(23), 1000, held_out=True)
        right = [(l.argmax(dim=1).cpu() == labels[:, k]).float().mean().item()
                 for k, l in enumerate(logits_of(texts))]
    print("held-out captions read right:", dict(zip([n for n, _ in HEADS], right)), flush=True)
    encoder.save_pretrained(os.path.join(out, "text_encoder"))


if __name__ == "__main__":
    main()
