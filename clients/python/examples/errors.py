"""Shows what a failed call says."""

from llmgateway import Client, GatewayError, NotFound, RateLimited


def main() -> None:
    """Asks for a model that is not there, and reads the error."""
    with Client() as client:
        try:
            client.complete("gtp-4o", "Hi")
        except NotFound as error:
            print(f"{error.message}; there are {', '.join(error.alternatives)}")
        except RateLimited as error:
            print(f"wait {error.retry_delay_s or 1} s")
        except GatewayError as error:
            print(f"{error.reason}: {error.message}, quote {error.request_id}")


if __name__ == "__main__":
    main()
