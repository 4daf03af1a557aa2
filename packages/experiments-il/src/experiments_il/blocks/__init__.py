"""Parts of policies that model files name: encoders, camera backbones, action decoders."""
