"""Quantiles that every report needs, as SciPy has them.

`import scipy.special` takes 0.1 s, a tenth of a report of 1,000 cells: it imports numpy.f2py,
numpy.testing and more. So the first numbers are written down here, and SciPy is asked for others.
"""

import math

CONFIDENCE = 0.95


def t_quantile(freedom: int) -> float:
    """Return the 97.5 % quantile of Student's t with so many degrees of freedom, at least 2."""
    if freedom - 2 < len(T_QUANTILES):
        return T_QUANTILES[freedom - 2]
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + CONFIDENCE) / 2))


def expanded_tail(settings: int) -> float:
    """Return which share lies below an expanded percentile interval of 95 %, of 3 or more settings.

    It is that of a normal distribution below -t sqrt(k / (k - 1)) (bootstrap.py).
    """
    if settings - 3 < len(TAILS):
        return TAILS[settings - 3]
    from scipy.special import ndtr

    return float(ndtr(-t_quantile(settings - 1) * (settings / (settings - 1)) ** 0.5))


def binomial_quantile(n: int, p: float) -> int:
    """Return the smallest number of n that are right in at most so many of 97.5 % of all draws.

    Args:
        p: the probability of each to be right, above 0 and below 1.
    """
    deviation = math.sqrt(n * p * (1 - p))
    k = max(0, int(n * p - 12 * deviation - 30))  # less than 1e-30 lies below
    ways = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    mass = math.exp(ways + k * math.log(p) + (n - k) * math.log1p(-p))
    within = mass
    while within < (1 + CONFIDENCE) / 2 and k < n:
        mass *= (n - k) / (k + 1) * p / (1 - p)
        within += mass
        k += 1
    return k


# stdtrit(k, 0.975) of scipy.special 1.x, for k from 2 on
T_QUANTILES = (
    4.302652729749462,
    3.1824463052837078,
    2.7764451051977934,
    2.5705818356363146,
    2.4469118511449786,
    2.364624251592784,
    2.306004135204166,
    2.262157162798205,
    2.228138851986274,
    2.200985160091639,
    2.1788128296672284,
    2.1603686564627913,
    2.144786687917804,
    2.131449545559776,
    2.1199052992212546,
    2.1098155778333156,
    2.1009220402410382,
    2.0930240544083087,
    2.085963447265864,
    2.0796138447276795,
    2.0738730679040254,
    2.0686576104190486,
    2.0638985616280245,
    2.0595385527532972,
    2.0555294386428735,
    2.0518305164802846,
    2.0484071417952454,
    2.045229642132703,
    2.0422724563012378,
    2.039513446396408,
    2.0369333434601016,
    2.0345152974493383,
    2.0322445093177186,
    2.030107928250343,
    2.0280940009804502,
    2.0261924630291093,
    2.0243941639119694,
    2.022690920036761,
    2.021075390306273,
    2.019540970441376,
    2.0180817028184443,
    2.016692199227824,
    2.0153675744437636,
    2.014103388880846,
    2.012895598919429,
    2.0117405137297655,
    2.010634757624232,
    2.0095752371292392,
)
# ndtr(-stdtrit(k - 1, 0.975) * (k / (k - 1)) ** 0.5), for k from 3 on
TAILS = (
    6.834137311941282e-08,
    0.00011903073915322603,
    0.0009541005518824907,
    0.0024318031746115667,
    0.004109153815637144,
    0.0057375205170298775,
    0.007224819183153953,
    0.008550639024406366,
    0.009722406900079611,
    0.010756614916552488,
    0.011671300553592659,
    0.012483255223348378,
    0.013207173126811439,
    0.013855570404766664,
    0.014438984972307507,
    0.014966254465740935,
    0.015444791816291428,
    0.015880829920347974,
    0.016279628592901357,
    0.016645645571930285,
    0.016982676247144765,
    0.01729396730891408,
    0.017582309108179404,
    0.017850110820923436,
    0.018099461787491982,
    0.01833218174855264,
    0.018549862154124894,
    0.01875390027822054,
    0.018945527516566404,
    0.01912583296347581,
    0.01929578314185352,
    0.019456238585301457,
    0.019607967833267775,
    0.01975165929113273,
    0.019887931320734645,
    0.020017340858175914,
    0.020140390800983465,
    0.020257536362843834,
    0.020369190558887078,
    0.020475728956047018,
    0.0205774937999782,
    0.02067479761126078,
    0.020767926328318826,
    0.020857142061924423,
    0.02094268551583683,
    0.021024778119598304,
    0.021103623912440125,
    0.02117941121137757,
)
