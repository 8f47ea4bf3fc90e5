"""Diffusion: noise levels, denoisers, and the gallery of samplers, all in sigma coordinates."""

from mrirecon.diffusion import samplers as samplers
from mrirecon.diffusion import schedules as schedules
from mrirecon.diffusion.denoisers import CleanDenoiser as CleanDenoiser
from mrirecon.diffusion.denoisers import Denoiser as Denoiser
from mrirecon.diffusion.denoisers import GaussianDenoiser as GaussianDenoiser
from mrirecon.diffusion.denoisers import NoiseDenoiser as NoiseDenoiser
from mrirecon.diffusion.denoisers import ScaledDenoiser as ScaledDenoiser
from mrirecon.diffusion.denoisers import ScoreDenoiser as ScoreDenoiser
from mrirecon.diffusion.denoisers import denoiser_of as denoiser_of
from mrirecon.diffusion.denoisers import on_device as on_device
from mrirecon.diffusion.schedules import SCHEDULES as SCHEDULES
from mrirecon.diffusion.schedules import geometric as geometric
from mrirecon.diffusion.schedules import karras as karras
from mrirecon.diffusion.schedules import vp as vp
from mrirecon.diffusion.unconditional import draw_images as draw_images
