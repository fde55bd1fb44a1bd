"""All architectures."""

from __future__ import annotations

from models import bert, crnn, decoder, detr, mobilenet_v3, resnet, segformer, unet, vit, wav2vec2, whisper_encoder, yolo

_MODULES = (resnet, mobilenet_v3, yolo, detr, segformer, unet, vit, bert, decoder, whisper_encoder, crnn, wav2vec2)

CATALOGUE = tuple(module.ARCHITECTURE for module in _MODULES)
"""Every architecture, one a file of this folder."""
