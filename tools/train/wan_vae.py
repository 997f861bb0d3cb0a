"""Whole-sequence forward of AutoencoderKLWan, for training.

The diffusers class evaluates clips in chunks with feature caches, which is exact but slow to train
through. The functions here run over the parameters of the same modules, but take a clip at once.
Every causal 3x3x3 convolution is one 2-D convolution over frames whose channels are three frames
side by side (t-2, t-1, t); a clip of one frame needs only the last temporal tap.

Tensors are [B, T, C, H, W]. `check_against_diffusers` proves that the results are the same.
"""
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLWan

CONFIG = dict(
    base_dim=8, decoder_base_dim=16, z_dim=16, dim_mult=[1, 2, 4, 4, 4], num_res_blocks=1,
    attn_scales=[], temperal_downsample=[False, True, True, False], dropout=0.0,
    latents_mean=[0.0] * 16, latents_std=[1.0] * 16, scale_factor_temporal=4,
    scale_factor_spatial=16)


def create(**overrides):
    """A new AutoencoderKLWan with the mini model's shape; its flat layers have empty past taps."""
    torch.manual_seed(overrides.pop("seed", 1))
    return mark_flat(AutoencoderKLWan(**{**CONFIG, **overrides}), clear=True)


def start_clips(vae):
    """After training on pictures: make clips start from what pictures taught.

    Until then nothing used the taps for the past or the time convolutions; they are random and would
    scramble clips. Past taps become zero; downsampling in time keeps the last frame of each pair and
    upsampling repeats, so that every fourth frame is coded as a picture and motion is learnt on top.
    """
    with torch.no_grad():
        for name, module in vae.named_modules():
            if not isinstance(module, torch.nn.Conv3d) or module.weight.shape[2] != 3:
                continue
            module.weight[:, :, :2] = 0
            if name.endswith("time_conv"):
                module.weight.zero_()
                module.bias.zero_()
                for k in range(module.weight.shape[0]):
                    module.weight[k, k % module.weight.shape[1], 2] = 1
    return vae


def mark_flat(vae, clear=False):
    """Most convolutions look at one frame only: cheaper to train, and a short memory, so that what is
    learnt from clips of five latents holds for clips of any length. What remains in time: one residual
    block per size from 64x40 on in the encoder, and the decoder's first convolution and one block per size.

    Their taps for the past are zero in the file, so the model stays an ordinary AutoencoderKLWan.
    """
    e, d = vae.encoder, vae.decoder
    parts = [e.conv_in, e.down_blocks[0], e.down_blocks[2], e.down_blocks[8], e.mid_block, e.conv_out,
             d.mid_block, d.up_blocks[0], d.up_blocks[1].resnets[1], d.up_blocks[2].resnets[1],
             d.up_blocks[3].resnets[1], d.up_blocks[4], d.conv_out]
    for part in parts:
        for module in part.modules():
            if isinstance(module, torch.nn.Conv3d) and module.weight.shape[2] == 3:
                module.flat = True
                if clear:
                    module.weight.data[:, :, :2] = 0
    return vae


def _frames(x):
    b, t, c, h, w = x.shape
    return x.reshape(b * t, c, h, w)


def _clips(x, b):
    return x.reshape(b, x.shape[0] // b, *x.shape[1:])


def _conv(module, x):
    """Causal convolution (kt, kh, kw) with kt in {1, 3} and spatial padding kh // 2."""
    b, t = x.shape[:2]
    weight, bias = module.weight, module.bias
    pad = weight.shape[-1] // 2
    if weight.shape[2] == 1:
        return _clips(F.conv2d(_frames(x), weight[:, :, 0], bias, padding=pad), b)
    if t == 1 or getattr(module, "flat", False):
        return _clips(F.conv2d(_frames(x), weight[:, :, 2], bias, padding=pad), b)
    past = F.pad(x, (0, 0, 0, 0, 0, 0, 2, 0))
    three = torch.cat([past[:, :t], past[:, 1:t + 1], x], dim=2)
    three = _frames(three).contiguous(memory_format=torch.channels_last)
    flat = weight.permute(0, 2, 1, 3, 4).flatten(1, 2)
    return _clips(F.conv2d(three, flat, bias, padding=pad), b)


def _norm(module, x):
    gamma = module.gamma.reshape(1, 1, -1, 1, 1)
    square = x.float().square().mean(dim=2, keepdim=True)
    return (x.float() * torch.rsqrt(square + 1e-12)).to(x.dtype) * gamma.to(x.dtype)


def _resnet(module, x):
    short = x if not hasattr(module.conv_shortcut, "weight") else _conv(module.conv_shortcut, x)
    y = _conv(module.conv1, F.silu(_norm(module.norm1, x)))
    y = _conv(module.conv2, F.silu(_norm(module.norm2, y)))
    return y + short


def _attention(module, x):
    b, t, c, h, w = x.shape
    gamma = module.norm.gamma.reshape(1, 1, -1, 1, 1)
    y = x.float()
    y = (y * torch.rsqrt(y.square().mean(dim=2, keepdim=True) + 1e-12)).to(x.dtype)
    y = _frames(y * gamma.to(x.dtype))
    qkv = F.conv2d(y, module.to_qkv.weight, module.to_qkv.bias)
    q, k, v = qkv.reshape(b * t, 1, 3 * c, h * w).transpose(2, 3).chunk(3, dim=-1)
    y = F.scaled_dot_product_attention(q, k, v)
    y = y.squeeze(1).transpose(1, 2).reshape(b * t, c, h, w)
    y = F.conv2d(y, module.proj.weight, module.proj.bias)
    return x + _clips(y, b)


def _mid(module, x):
    x = _resnet(module.resnets[0], x)
    for attention, resnet in zip(module.attentions, module.resnets[1:]):
        x = _resnet(resnet, _attention(attention, x))
    return x


def _down(module, x):
    b = x.shape[0]
    conv = module.resample[1]
    y = F.conv2d(F.pad(_frames(x), (0, 1, 0, 1)), conv.weight, conv.bias, stride=2)
    y = _clips(y, b)
    if module.mode == "downsample3d" and y.shape[1] > 1:
        weight = module.time_conv.weight[..., 0, 0]
        flat = weight.permute(0, 2, 1).flatten(1)[:, :, None, None]
        three = _frames(torch.cat([y[:, 0:-2:2], y[:, 1:-1:2], y[:, 2::2]], dim=2))
        later = _clips(F.conv2d(three, flat, module.time_conv.bias), b)
        y = torch.cat([y[:, :1], later], dim=1)
    return y


def _up(module, x, segment=None):
    b, t, c, h, w = x.shape
    if module.mode == "upsample3d" and t > 1:
        rest = x[:, 1:]
        past = F.pad(rest, (0, 0, 0, 0, 0, 0, 2, 0))
        three = _frames(torch.cat([past[:, :t - 1], past[:, 1:t], rest], dim=2))
        flat = module.time_conv.weight[..., 0, 0].permute(0, 2, 1).flatten(1)[:, :, None, None]
        y = F.conv2d(three, flat, module.time_conv.bias)
        y = y.reshape(b, (t - 1) * 2, c, h, w)  # channel halves are the even and the odd frames
        x = torch.cat([x[:, :1], y], dim=1)
    if segment is not None:
        x = x.index_select(1, segment)
    conv = module.resample[1]
    y = F.interpolate(_frames(x), scale_factor=2.0, mode="nearest")
    return _clips(F.conv2d(y, conv.weight, conv.bias, padding=1), b)


def encode(vae, x):
    """Pixels [B, T, 3, H, W] in [-1, 1] -> mean and log-variance [B, T', 16, H/16, W/16]."""
    e = vae.encoder
    x = _conv(e.conv_in, x)
    for layer in e.down_blocks:
        x = _down(layer, x) if hasattr(layer, "resample") else _resnet(layer, x)
    x = _mid(e.mid_block, x)
    x = _conv(e.conv_out, F.silu(_norm(e.norm_out, x)))
    x = _conv(vae.quant_conv, x)
    mean, logvar = x.chunk(2, dim=2)
    return mean, logvar.clamp(-30.0, 20.0)


def decode(vae, z, keep=None, segment=None):
    """Latents [B, T', 16, h, w] -> pixels [B, 1 + 4 (T' - 1), 3, 16 h, 16 w], not clamped.

    For training on some frames at a lower price: `segment` (a run of frame indices) leaves out the other
    frames from the second finest size on, where four earlier frames still matter; `keep` (indices into
    what is left) leaves out frames where the rest of the way looks at single frames.
    """
    d = vae.decoder
    x = _conv(vae.post_quant_conv, z)
    x = _mid(d.mid_block, _conv(d.conv_in, x))
    for k, block in enumerate(d.up_blocks):
        for j, resnet in enumerate(block.resnets):
            if keep is not None and (k, j) == (3, 1):
                x = x.index_select(1, keep)
            x = _resnet(resnet, x)
        if block.upsamplers is not None:
            x = _up(block.upsamplers[0], x, segment if k == 2 else None)
    return _conv(d.conv_out, F.silu(_norm(d.norm_out, x)))


@torch.no_grad()
def check_against_diffusers(vae, height=64, width=96):
    """Largest differences of encode and decode against the diffusers class, in f32."""
    x = torch.rand(2, 13, 3, height, width) * 2 - 1
    mean, _ = encode(vae, x)
    want = vae.encode(x.transpose(1, 2)).latent_dist.mode().transpose(1, 2)
    got_x = decode(vae, mean)
    want_x = vae.decode(want.transpose(1, 2)).sample.transpose(1, 2)
    return (mean - want).abs().max().item(), (got_x.clamp(-1, 1) - want_x).abs().max().item()


if __name__ == "__main__":
    model = create()
    print("parameters", sum(p.numel() for p in model.parameters()))
    print("differences (encode, decode)", check_against_diffusers(model))
