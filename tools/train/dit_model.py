"""The mini model's WanTransformer3DModel: making it, and a forward that trains fast.

`velocity` computes what the diffusers module computes (text zero-padded to 512 rows, all attended),
with exact savings: the zero rows give one and the same key and value, so a single such row with the
logarithm of their number added to its score stands for all. `check_against_diffusers` proves it.
"""
import math
import torch
import torch.nn.functional as F
from diffusers import WanTransformer3DModel

HEADS, HEAD, LAYERS, FFN, TEXT, ROWS = 4, 64, 6, 768, 128, 512
TEXT_KEYS = 48  # longest text kept while training: 47 pieces and the padding row


def create(layers=LAYERS, ffn=FFN, heads=HEADS):
    """A new transformer; its start lets text through and leaves every block near the identity."""
    torch.manual_seed(3)
    model = WanTransformer3DModel(
        patch_size=(1, 2, 2), num_attention_heads=heads, attention_head_dim=HEAD, in_channels=16,
        out_channels=16, text_dim=TEXT, freq_dim=256, ffn_dim=ffn, num_layers=layers,
        cross_attn_norm=True, qk_norm="rms_norm_across_heads", eps=1e-6, rope_max_seq_len=1024)
    width = heads * HEAD
    with torch.no_grad():
        embedder = model.condition_embedder
        torch.nn.init.normal_(embedder.time_proj.weight, std=0.01)
        embedder.time_proj.bias.zero_()
        model.scale_shift_table.zero_()
        model.proj_out.weight.zero_()
        model.proj_out.bias.zero_()
        text = embedder.text_embedder
        text.linear_1.bias.zero_()
        torch.nn.init.normal_(text.linear_1.weight, std=1.0 / math.sqrt(TEXT))
        torch.nn.init.normal_(text.linear_2.weight, std=2.0 / math.sqrt(width))
        torch.nn.init.normal_(text.linear_2.bias, std=0.5)
        for block in model.blocks:
            block.scale_shift_table.zero_()
            block.scale_shift_table[:, 2] = 0.4
            block.scale_shift_table[:, 5] = 0.4
            block.attn2.to_out[0].weight.mul_(0.5)
            # every query starts out opposed to the padding row's key, or 480 equal rows drown the text
            key = block.attn2.to_k(text.linear_2.bias)
            key = key / key.square().mean().sqrt()
            block.attn2.to_q.bias.copy_(-1.5 * key)
    return model


def rope_tables(t, h, w, device):
    """cos and sin [t*h*w, HEAD/2]; pairs split 12 time, 10 rows, 10 columns for HEAD 64."""
    side = 2 * (HEAD // 6)
    parts = []
    for axis, (size, dim) in enumerate(((t, HEAD - 2 * side), (h, side), (w, side))):
        f = 10000.0 ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim)
        angle = torch.outer(torch.arange(size, dtype=torch.float64), f)
        view = [1, 1, 1, dim // 2]
        view[axis] = size
        parts.append(angle.view(view).expand(t, h, w, dim // 2))
    angle = torch.cat(parts, dim=-1).reshape(t * h * w, HEAD // 2)
    return angle.cos().float().to(device), angle.sin().float().to(device)


def _rms(x, weight):
    y = x.float()
    return y * torch.rsqrt(y.square().mean(dim=-1, keepdim=True) + 1e-6) * weight


def _rotate(x, cos, sin):
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack([a * cos - b * sin, a * sin + b * cos], dim=-1).flatten(-2)


def _layer_norm(x):
    return F.layer_norm(x.float(), (x.shape[-1],), eps=1e-6)


def text_keys(rows, counts, keys=TEXT_KEYS):
    """Rows [B, L, TEXT] and their counts -> rows [B, keys, TEXT] whose row `count` stands for the
    padding, and the score bias [B, 1, 1, keys]."""
    b = rows.shape[0]
    rows = F.pad(rows, (0, 0, 0, max(0, keys - rows.shape[1])))[:, :keys]
    counts = counts.clamp(max=keys - 1)
    index = torch.arange(keys, device=rows.device)[None, :]
    rows = rows * (index < counts[:, None])[..., None]
    bias = torch.zeros(b, keys, device=rows.device)
    bias = torch.where(index == counts[:, None], torch.log(ROWS - counts[:, None].float()), bias)
    bias = torch.where(index > counts[:, None], torch.full_like(bias, -1e4), bias)
    return rows, bias[:, None, None, :]


def velocity(model, x, sigma, rows, bias, cos, sin):
    """x [B, T, 16, h, w], sigma [B], rows and bias from `text_keys` -> velocity like x."""
    b, t, c, h, w = x.shape
    width, heads = model.proj_out.in_features, model.blocks[0].attn1.heads
    patches = x.reshape(b, t, c, h // 2, 2, w // 2, 2).permute(0, 1, 3, 5, 2, 4, 6)
    tokens = F.linear(patches.reshape(b, -1, 4 * c), model.patch_embedding.weight.flatten(1),
                      model.patch_embedding.bias).float()
    embedder = model.condition_embedder
    f = torch.exp(-math.log(10000.0) * torch.arange(128, device=x.device, dtype=torch.float32) / 128)
    angle = (sigma * 1000.0)[:, None] * f[None, :]
    e = embedder.time_embedder.linear_1(torch.cat([angle.cos(), angle.sin()], dim=1))
    e = embedder.time_embedder.linear_2(F.silu(e)).float()
    e0 = embedder.time_proj(F.silu(e)).float().reshape(b, 6, width)
    text = embedder.text_embedder
    context = text.linear_2(F.gelu(text.linear_1(rows), approximate="tanh"))

    def split(y):
        return y.reshape(b, -1, heads, HEAD).transpose(1, 2)

    for block in model.blocks:
        m = (block.scale_shift_table + e0).unsqueeze(2)
        a = _layer_norm(tokens) * (1 + m[:, 1]) + m[:, 0]
        attention = block.attn1
        q = _rotate(split(_rms(attention.to_q(a), attention.norm_q.weight)), cos, sin)
        k = _rotate(split(_rms(attention.to_k(a), attention.norm_k.weight)), cos, sin)
        v = split(attention.to_v(a))
        o = F.scaled_dot_product_attention(q.to(v.dtype), k.to(v.dtype), v)
        tokens = tokens + attention.to_out[0](o.transpose(1, 2).flatten(2)) * m[:, 2]
        attention = block.attn2
        a = F.layer_norm(tokens, (width,), block.norm2.weight, block.norm2.bias, eps=1e-6)
        q = split(_rms(attention.to_q(a), attention.norm_q.weight))
        k = split(_rms(attention.to_k(context), attention.norm_k.weight))
        v = split(attention.to_v(context))
        # few keys: plain products train two and a half times as fast on a CPU as the fused attention
        score = (q.to(v.dtype) @ k.to(v.dtype).transpose(-1, -2)).float() / math.sqrt(HEAD) + bias
        o = score.softmax(dim=-1).to(v.dtype) @ v
        tokens = tokens + attention.to_out[0](o.transpose(1, 2).flatten(2))
        a = _layer_norm(tokens) * (1 + m[:, 4]) + m[:, 3]
        y = F.gelu(block.ffn.net[0].proj(a), approximate="tanh")
        tokens = tokens + block.ffn.net[2](y) * m[:, 5]
    m = model.scale_shift_table + e[:, None, :]
    y = model.proj_out(_layer_norm(tokens) * (1 + m[:, 1:2]) + m[:, 0:1]).float()
    y = y.reshape(b, t, h // 2, w // 2, 2, 2, c).permute(0, 1, 6, 2, 4, 3, 5)
    return y.reshape(b, t, c, h, w)


@torch.no_grad()
def check_against_diffusers(model):
    """Largest relative difference from the diffusers module, in f32."""
    torch.manual_seed(0)
    for p in model.parameters():
        p.add_(torch.randn_like(p) * 0.02)
    x, sigma = torch.randn(2, 5, 16, 10, 16), torch.tensor([0.9, 0.3])
    rows, counts = torch.randn(2, 20, TEXT), torch.tensor([20, 1])
    rows[1, 1:] = 0
    cos, sin = rope_tables(5, 5, 8, "cpu")
    got = velocity(model, x, sigma, *text_keys(rows, counts), cos, sin)
    full = F.pad(rows, (0, 0, 0, ROWS - rows.shape[1]))
    want = model(x.transpose(1, 2), sigma * 1000, full).sample.transpose(1, 2)
    return ((got - want).norm() / want.norm()).item()


if __name__ == "__main__":
    transformer = create()
    print("parameters", sum(p.numel() for p in transformer.parameters()))
    print("relative difference", check_against_diffusers(transformer))
