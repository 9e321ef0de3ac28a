"""vLLM servers as a generation backend: requests over HTTP, weights over a shared folder.

The package lies in two environments: in burnish's, where `backend` asks servers, and in vLLM's, where `serve` starts one and
`engine` loads weights. Neither half imports the other's library.
"""

__version__ = "0.1.0"
