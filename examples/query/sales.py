"""Query of a table: a session that runs this file answers at `/sales`, from the orders in `orders.csv`."""

from datetime import date

import duckdb

from owt import endpoint

orders = duckdb.read_csv("orders.csv")


@endpoint("/sales")
def sales(country: str | None = None, since: date = date.min) -> duckdb.DuckDBPyRelation:
    """Return orders, pieces and revenue of each product, of one country or of all."""
    return duckdb.sql(
        """
        select product, count(*) as orders, sum(pieces)::int as pieces, sum(pieces * price) as revenue
        from orders
        where day >= $since and ($country is null or country = $country)
        group by product
        order by revenue desc
        """,
        params={"country": country, "since": since},
    )
