"""The language model under study: one interface, two backends, and its activations on disk.

`import sanity.subject` loads neither transformers nor transformer-lens nor nnsight; `load_subject` does.
"""

from __future__ import annotations

from sanity.subject.activations import ActivationStore, JointNormalisation, Normalisation
from sanity.subject.files import assets_of, known_subjects
from sanity.subject.forward_stream import ForwardPairs, ForwardStream, Read
from sanity.subject.harvesting import harvest, read_at
from sanity.subject.interface import Subject, depth_of
from sanity.subject.loading import load_module, load_subject, load_tokenizer, prepare, weights_of
from sanity.subject.mlp import MLPStream, MLPSubject, joint_normalisation
from sanity.subject.running_on import EditablePrompts
from sanity.subject.shape import Shape, shape_of, weights_bytes
from sanity.subject.streaming import ActivationStream

__all__ = [
    "ActivationStore",
    "ActivationStream",
    "EditablePrompts",
    "ForwardPairs",
    "ForwardStream",
    "JointNormalisation",
    "MLPStream",
    "MLPSubject",
    "Normalisation",
    "Read",
    "Shape",
    "Subject",
    "assets_of",
    "depth_of",
    "harvest",
    "joint_normalisation",
    "known_subjects",
    "load_module",
    "load_subject",
    "load_tokenizer",
    "prepare",
    "read_at",
    "shape_of",
    "weights_bytes",
    "weights_of",
]
