"""The MLP's own neurons as an arm: taken from the language model, and scored as transcoders are."""

from __future__ import annotations

import torch

from sanity.engine.cells import Task, computes
from sanity.errors import BadInputError
from sanity.models import neurons_of, save_sae
from sanity.sources import MLP, RunSpec
from sanity.subject import MLPStream, MLPSubject
from sanity.subject.interface import agree


@computes("own neurons", version=1)
def take_neurons(task: Task) -> None:
    """Keep an MLP's neurons, the k largest active; with all of them they are the MLP, which is checked."""
    run: RunSpec = task.config
    source = run.source
    if not isinstance(source, MLP) or source.outputs != "mlp" or source.at.random_weights:
        raise BadInputError(f"{source.where} has no neurons of its own: own_neurons is for an MLP's outputs")
    subject = source.at.load(run.device)
    assert isinstance(subject, MLPSubject)
    if subject.function is not subject.mlp:
        raise BadInputError(f"{source.where} normalises what its neurons add up to: leave out own_neurons")
    stream = source.open(task.inputs, batch_size=run.budget.batch_size, seed=0, device=run.device).stream
    assert isinstance(stream, MLPStream)
    scales = (stream.centre, stream.factor, stream.target_centre, stream.target_factor)
    neurons = neurons_of(subject.mlp, run.arm.d_sae, activation_of(subject), source.where).normalised(*scales)
    if len(neurons.W_dec) != run.arm.d_sae:
        raise BadInputError(
            f"{source.where} has {len(neurons.W_dec)} neurons: d_sae cannot be {run.arm.d_sae}"
        )
    with torch.no_grad():
        agree(neurons.reconstruct(stream.batch(0)), stream.targets(0))
    neurons.k = run.l0
    save_sae(neurons, task.folder / "sae")


def activation_of(subject: MLPSubject) -> str:
    """The nonlinearity that a model's configuration names."""
    config = subject.subject._plain.config.get_text_config()
    names = (
        getattr(config, name, None) for name in ("hidden_activation", "hidden_act", "activation_function")
    )
    return next((str(name) for name in names if name), "unknown")
