"""Layer 5: probability distributions, with gradients through samples or log-probabilities.

| family        | values      | parameters              | gradient through a sample      |
|---------------|-------------|-------------------------|--------------------------------|
| `Normal`      | ℝ           | `loc`, `scale`          | `rsample`: reparameterised     |
| `Bernoulli`   | 0, 1        | `probs` or `logits`     | none: use `log_prob`           |
| `Categorical` | 0 .. C-1    | `probs` or `logits`     | none: use `log_prob`           |

All samples come from the library's generator: ``ts.manual_seed`` makes them repeatable.
"""

from ..messages import publish
from .base import Distribution, kl_divergence
from .discrete import Bernoulli, Categorical
from .normal import Normal

__all__ = ["Bernoulli", "Categorical", "Distribution", "Normal", "kl_divergence"]

publish(__name__)
