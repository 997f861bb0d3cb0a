"""Muon: momentum orthogonalised by Newton-Schulz iterations for matrices, AdamW for the rest.

Convolution weights are taken as matrices [out, in * taps]. Matrices of one shape are orthogonalised
together. The step is scaled so that AdamW's learning rates fit (Liu et al. 2025, 0.2 sqrt(max(m, n))).
"""
import torch
import torch.distributed as dist


def _orthogonalise(g):
    """[K, m, n] with m <= n: nearest semi-orthogonal matrices, by the quintic iteration."""
    x = g / (g.norm(dim=(1, 2), keepdim=True) + 1e-7)
    x = x.bfloat16()
    for _ in range(5):
        a = x @ x.transpose(1, 2)
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * (a @ a)) @ x
    return x.float()


def _shared(stack):
    """_orthogonalise, each process of a group doing its part."""
    ranks = dist.get_world_size() if dist.is_initialized() else 1
    if ranks == 1 or stack.shape[0] == 1:
        return _orthogonalise(stack)
    count = stack.shape[0]
    each = (count + ranks - 1) // ranks
    stack = torch.cat([stack, stack.new_zeros(each * ranks - count, *stack.shape[1:])])
    mine = _orthogonalise(stack[dist.get_rank() * each:(dist.get_rank() + 1) * each]).contiguous()
    parts = [torch.empty_like(mine) for _ in range(ranks)]
    dist.all_gather(parts, mine)
    return torch.cat(parts)[:count]


class Muon(torch.optim.Optimizer):
    """Parameter groups: those with muon=True hold matrices or convolution weights."""

    def __init__(self, model, lr, momentum=0.95, betas=(0.9, 0.97), weight_decay=0.0, exclude=()):
        matrices, rest = [], []
        for name, p in model.named_parameters():
            wide = p.ndim >= 2 and min(p.shape[0], p[0].numel()) >= 16 and p.shape[0] > 3
            (matrices if wide and not any(e in name for e in exclude) else rest).append(p)
        super().__init__([dict(params=matrices, muon=True), dict(params=rest, muon=False)],
                         dict(lr=lr, momentum=momentum, betas=betas, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if group["muon"]:
                self._muon(group, params)
            else:
                self._adam(group, params)

    def _muon(self, group, params):
        shapes = {}
        for p in params:
            state = self.state[p]
            if "momentum" not in state:
                state["momentum"] = torch.zeros_like(p)
            buffer = state["momentum"].mul_(group["momentum"]).add_(p.grad)
            update = p.grad.add(buffer, alpha=group["momentum"]).flatten(1)
            flip = update.shape[0] > update.shape[1]
            update = update.t() if flip else update
            shapes.setdefault((tuple(update.shape)), []).append((p, update, flip))
        for (m, n), items in shapes.items():
            whole = _shared(torch.stack([u for _, u, _ in items]))
            scale = 0.2 * max(m, n) ** 0.5
            for (p, _, flip), u in zip(items, whole):
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_((u.t() if flip else u).reshape(p.shape), alpha=-group["lr"] * scale)

    def _adam(self, group, params):
        b1, b2 = group["betas"]
        for p in params:
            state = self.state[p]
            if "step" not in state:
                state.update(step=0, first=torch.zeros_like(p), second=torch.zeros_like(p))
            state["step"] += 1
            first = state["first"].lerp_(p.grad, 1 - b1)
            second = state["second"].mul_(b2).addcmul_(p.grad, p.grad, value=1 - b2)
            root = (second / (1 - b2 ** state["step"])).sqrt_().add_(1e-8)
            p.addcdiv_(first, root, value=-group["lr"] / (1 - b1 ** state["step"]))
