"""Classifier of irises: a session that runs this file trains it, and answers at `/iris` and `/irises`."""

import pandas as pd
from pydantic import BaseModel, Field
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split

from owt import endpoint


class Flower(BaseModel):
    """An iris, measured in centimetres."""

    sepal_length: float = Field(gt=0)
    sepal_width: float = Field(gt=0)
    petal_length: float = Field(gt=0)
    petal_width: float = Field(gt=0)


iris = load_iris(as_frame=True)
flowers = iris.data.set_axis(list(Flower.model_fields), axis="columns")
species = iris.target.map(dict(enumerate(iris.target_names)))


@endpoint("/train", methods=["POST"])
def train(trees: int = 100) -> dict[str, float]:
    """Train another model for all later calls. Return its accuracy for flowers that it has not seen."""
    global model
    train_x, test_x, train_y, test_y = train_test_split(flowers, species, test_size=0.3, random_state=0)
    model = RandomForestClassifier(trees, random_state=0).fit(train_x, train_y)
    return {"trees": trees, "accuracy": round(model.score(test_x, test_y), 3)}


@endpoint("/iris")
def classify(flower: Flower) -> dict[str, float]:
    """Return the probability of each species."""
    [probabilities] = model.predict_proba(pd.DataFrame([flower.model_dump()]))
    return dict(zip(model.classes_, probabilities.round(2), strict=True))


@endpoint("/irises")
def classify_table(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with a column `name` together with the species of each row."""
    return table.assign(species=model.predict(table[list(Flower.model_fields)])).set_index("name")


train()
