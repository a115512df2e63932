"""The three events of the documentation, from a shop's backend. Where they go is decided by the environment alone:

MCM_MODE=test MCM_TEST_PLATFORM_ID=SHOP_TEST MCM_TEST_API_KEY=… MCM_BASE_URL=http://127.0.0.1:8080   our test platform
MCM_MODE=live MCM_PLATFORM_ID=SHOP MCM_API_KEY=… MCM_PLATFORM_NAME=shop                              the original service
"""

from typing import Any

from footfall import Answer, Client, Device, Item, Money

PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148"


def main() -> None:
    with Client.from_env() as client:
        visitor: dict[str, Any]
        visitor = {
            "channel_type": "SITE",
            "user_id": "5b1f8a52c0de",  # hashed, see footfall.hash_identifier
            "device": Device.from_user_agent(PHONE, ip="192.0.2.1", language="en", persistent_id="7e02a9d4f1b3"),
        }
        view = client.insert_event(
            event_type="ITEM_PAGE_VIEW",
            **visitor,
            items=[Item(id="ABC1234", price=Money("USD", "19.99"), quantity=1)],
            page_id="ITEM_DETAIL_PAGE:ABC1234",
            referrer_page_id="SEARCH_RESULTS_PAGE",
        )
        show("ITEM_PAGE_VIEW", view)

        cart = client.insert_event(
            event_type="ADD_TO_CART",
            **visitor,
            items=[Item(id="ABC1234", price=Money("USD", "19.99"), quantity=2, seller_id="SELLER1")],
            page_id="ITEM_DETAIL_PAGE:ABC1234",
        )
        show("ADD_TO_CART", cart)

        purchase = client.insert_event(
            event_type="PURCHASE",
            **visitor,
            items=[Item(id="ABC1234", price=Money("USD", "19.99"), quantity=2, seller_id="SELLER1")],
            revenue=Money("USD", "44.97"),
            shipping_charge=Money("USD", "4.99"),
        )
        show("PURCHASE", purchase)


def show(event_type: str, answer: Answer) -> None:
    print(f"{event_type:<15} {answer.status}")
    if answer.report:  # only a Footfall test platform explains itself
        print(f"  counted under  {answer.report.identifier.kind if answer.report.identifier else 'nobody'}")
        print(f"  go-live cases  {', '.join(answer.report.cases)}")
        print(f"  warnings       {', '.join(w.reason for w in answer.report.warnings) or 'none'}")


if __name__ == "__main__":
    main()
