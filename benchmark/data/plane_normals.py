"""Surface normals from a depth map: a plane fitted by least squares in a window around every pixel."""

from dataclasses import dataclass

import numpy as np

#: Side of the window in pixels. A structured-light sensor's random error bends a fitted plane by about
#: 0.3 * Z / side * 40 degrees at Z metres: 4 degrees at 4 m for a side of 11.
WINDOW = 11
#: Least share of a window's pixels with known depth.
LEAST_KNOWN = 0.5
#: Largest root mean square residual of a fit in inverse metres: three times the random error of the Kinect,
#: 1.4e-3 * Z^2 metres in depth (Khoshelham & Oude Elberink, Sensors 2012), and so 1.4e-3 in inverse depth anywhere.
LARGEST_RESIDUAL = 0.005


@dataclass(frozen=True)
class Camera:
    """A pinhole camera: focal lengths and principal point in pixels; the first pixel's middle is (0, 0)."""

    fx: float
    fy: float
    cx: float
    cy: float


def plane_normals(
    depth: np.ndarray, camera: Camera, *, window: int = WINDOW, largest_residual: float = LARGEST_RESIDUAL
) -> np.ndarray:
    """Normals of the surfaces that a depth map shows.

    Camera axes are x right, y down, z forward, and a normal points to the camera: with the pixel's ray
    r = (u, v, 1), u = (column − cx) / fx, v = (row − cy) / fy, it is n · r < 0. (A wall straight ahead has (0, 0, −1),
    a floor (0, −1, 0) for a level camera.)

    A plane n · X = −h holds the points X = Z r with 1 / Z = a u + b v + c and (a, b, c) = −n / h. Inverse depth is thus
    linear in u and v exactly, and its error is the same at any distance for a sensor that measures disparity, so that
    ordinary least squares of 1 / Z on u, v and 1 over the window's known pixels is the maximum-likelihood fit. All
    windows are fitted at once from ten box sums.

    Args:
        depth: (H, W) metres along z; 0 unknown.
        camera: what took the map.
        window: side of the window in pixels, odd.
        largest_residual: root mean square of 1 / Z minus its fit, in inverse metres, above which a fit is poor.

    Returns:
        (3, H, W) float32 unit vectors; 0 where depth is unknown, where under half of the window is known, or where the
        fit is poor: at edges, mostly.
    """
    from scipy.ndimage import uniform_filter1d  # late: only what prepares raw depth needs it

    known = depth > 0
    inverse = np.divide(1.0, depth, out=np.zeros(depth.shape), where=known)
    height, width = depth.shape
    u = np.broadcast_to((np.arange(width) - camera.cx) / camera.fx, depth.shape)
    v = np.broadcast_to(((np.arange(height) - camera.cy) / camera.fy)[:, None], depth.shape)
    ones = known.astype(np.float64)
    ku, kv = ones * u, ones * v
    sums = np.stack(
        [ones, ku, kv, inverse, ku * u, ku * v, kv * v, inverse * u, inverse * v, inverse * inverse]
    )  # (10, H, W)
    for axis in (1, 2):
        sums = uniform_filter1d(sums, window, axis=axis, mode="constant")
    share = sums[0]  # of the window's pixels that are known
    enough = known & (share > LEAST_KNOWN)
    mean = sums / np.where(share > 0, share, 1)
    _, mu, mv, mq, uu, uv, vv, uq, vq, qq = mean
    uu, uv, vv = uu - mu * mu, uv - mu * mv, vv - mv * mv
    uq, vq, qq = uq - mu * mq, vq - mv * mq, qq - mq * mq
    determinant = uu * vv - uv * uv
    enough &= determinant > 1e-3 * uu * vv  # pixels that lie on one line span no plane
    determinant = np.where(enough, determinant, 1)
    a = (uq * vv - vq * uv) / determinant
    b = (vq * uu - uq * uv) / determinant
    c = mq - a * mu - b * mv
    residual = qq - a * uq - b * vq
    good = enough & (residual <= largest_residual**2) & (a * u + b * v + c > 0)
    plane = np.where(good, np.stack([a, b, c]), 0)
    length = np.sqrt((plane * plane).sum(0))
    return (-plane / np.where(length > 0, length, 1)).astype(np.float32)
