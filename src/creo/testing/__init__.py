"""Checks that any generative model must pass: for creo's own models, and for people who write one.

| check                              | rule                                                                       |
|------------------------------------|----------------------------------------------------------------------------|
| `check_model`                      | all of the below that apply, on tiny spaces of every kind                  |
| `check_instance`                   | all of the below that apply, on one model built by hand                    |
| `check_samples_in_space`           | samples are raw data of the space                                          |
| `check_pictures`                   | every picture of the family is drawn and shows something                   |
| `check_completes`                  | completions keep what is known and look at nothing else                    |
| `check_rejects_bad_input`          | wrong shapes, dtypes and counts raise one clear line                       |
| `check_conditional`                | conditions matter; missing and superfluous ones are refused                |
| `check_train_and_eval`             | both modes work; evaluation is a function of the example alone             |
| `check_dtypes`                     | float64 and bfloat16 autocast agree with float32                           |
| `check_gradients_reach_parameters` | every parameter is owned by a player and reached by its loss               |
| `check_save_load`                  | recipe and weights bring the model back, bit for bit                       |
| `check_normalised`                 | probabilities sum to 1; bounds to at most 1                                |
| `check_samples_match_log_prob`     | frequencies of samples are what log_prob says                              |
| `check_bound_below_exact`          | a bound is below the exact value, where that is known                      |
| `check_invertible`                 | a flow's inverse is its inverse                                            |
| `check_log_det`                    | log-determinants against autograd's Jacobian, in both directions           |
| `check_causal`                     | a sequential model looks at all that is behind it and nothing else         |
| `check_cached_equals_uncached`     | stepping with a cache equals the whole-sequence computation                |

Each raises `CheckFailed`, an AssertionError whose message names the rule, the worst offender and the numbers. They
work in any test runner. `tiny_spaces`, `tiny_data` and `settle` give small things to try them on.
"""

from creo.testing.completing import check_completes as check_completes
from creo.testing.density import check_bound_below_exact as check_bound_below_exact
from creo.testing.density import check_normalised as check_normalised
from creo.testing.failure import CheckFailed as CheckFailed
from creo.testing.inputs import check_conditional as check_conditional
from creo.testing.inputs import check_refuses as check_refuses
from creo.testing.inputs import check_rejects_bad_input as check_rejects_bad_input
from creo.testing.invertible import check_invertible as check_invertible
from creo.testing.invertible import check_log_det as check_log_det
from creo.testing.looks import check_pictures as check_pictures
from creo.testing.sampling import check_samples_in_space as check_samples_in_space
from creo.testing.sampling import check_samples_match_log_prob as check_samples_match_log_prob
from creo.testing.saving import check_save_load as check_save_load
from creo.testing.sequential import check_cached_equals_uncached as check_cached_equals_uncached
from creo.testing.sequential import check_causal as check_causal
from creo.testing.sequential import stepwise_logits as stepwise_logits
from creo.testing.suite import CHECKS as CHECKS
from creo.testing.suite import check_instance as check_instance
from creo.testing.suite import check_model as check_model
from creo.testing.suite import checks_for as checks_for
from creo.testing.tiny import settle as settle
from creo.testing.tiny import tiny_conditions as tiny_conditions
from creo.testing.tiny import tiny_data as tiny_data
from creo.testing.tiny import tiny_spaces as tiny_spaces
from creo.testing.training import check_dtypes as check_dtypes
from creo.testing.training import check_gradients_reach_parameters as check_gradients_reach_parameters
from creo.testing.training import check_train_and_eval as check_train_and_eval
