import torch
from torch import Tensor, nn

from seqtrain.optim.gradient_changes import add_grad_noise, clip_grad_values


def parameters(*gradients: Tensor | None) -> list[nn.Parameter]:
    found = []
    for gradient in gradients:
        parameter = nn.Parameter(torch.zeros(100, 50))
        parameter.grad = None if gradient is None else gradient.clone()
        found.append(parameter)
    return found


def test_clipping_bounds_every_value_and_leaves_the_others() -> None:
    torch.manual_seed(0)
    gradient = torch.randn(100, 50)
    clipped, without = parameters(gradient, None)
    clip_grad_values([clipped, without], 0.5)
    assert clipped.grad is not None
    torch.testing.assert_close(clipped.grad, gradient.clamp(-0.5, 0.5), rtol=0, atol=0)
    assert without.grad is None


def test_noise_has_the_deviation_and_depends_on_nothing_but_its_key() -> None:
    noise = []
    for key in (("noise", 1), ("noise", 1), ("noise", 2)):
        first, _, second = parameters(torch.zeros(100, 50), None, torch.zeros(100, 50))
        torch.rand(3)  # whatever is drawn elsewhere
        add_grad_noise([first, second], 0.3, *key)
        assert first.grad is not None
        assert second.grad is not None
        assert not torch.equal(first.grad, second.grad)
        noise.append(first.grad)
    assert torch.equal(noise[0], noise[1])
    assert not torch.equal(noise[0], noise[2])
    assert abs(float(noise[0].std()) - 0.3) < 0.01
    assert abs(float(noise[0].mean())) < 0.02


def test_noise_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    add_grad_noise(parameters(torch.zeros(100, 50)), 1.0, "noise")
    assert torch.equal(torch.rand(3), expected)
