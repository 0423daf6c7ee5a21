"""Wire formats: pure translation between the core's vocabulary and a provider's bytes. No I/O, no clocks.

Each dialect is a package, and its docstring is where to begin; `openai_common` is what OpenAI's two have in common.
The modules beside them are shared by all: `dialect` is what a dialect implements, `parts`, `stream` and `sse` read
replies, `structured` and `media` help to write requests, `problem`, `json_body` and `counts` judge what came back.
"""
