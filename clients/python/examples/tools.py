"""Lets the model call a tool, and gives it the result until it has an answer."""

from typing import Any

from llmgateway import Client, ToolCall

MOST_TURNS = 5
WEATHER = {
    "name": "weather",
    "description": "Tells the weather in a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def run(call: ToolCall) -> str:
    """Runs the tool. What the model wrote is checked first: it may be anything."""
    try:
        city = str(call.arguments["city"])
    except (ValueError, KeyError):
        return "give a city"
    return f"Rain in {city}."


def main() -> None:
    """Prints the answer."""
    conversation: list[Any] = ["Do I need an umbrella in Oslo?"]
    with Client() as client:
        for turn in range(MOST_TURNS):
            choice = "weather" if turn == 0 else "none"
            reply = client.complete("gpt-4o", conversation, tools=[WEATHER], tool_choice=choice)
            if not reply.tool_calls:
                print(reply.text)
                return
            conversation += [reply, *(call.result(run(call)) for call in reply.tool_calls)]


if __name__ == "__main__":
    main()
