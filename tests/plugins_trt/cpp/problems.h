// Random recurrences: inputs rounded to the element type, and what the outputs are in float64.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include "kernels/element.h"

namespace deployrec::test {

struct Shape {
  int64_t batch, time, dim;
};

// Values as the element type holds them, in its own bytes and as what they stand for.
struct Values {
  std::vector<unsigned char> bytes;
  std::vector<double> exact;

  template <class Make>
  Values(ElementType type, int64_t count, Make make) {
    with_element(type, [&](auto element) {
      using Element = decltype(element);
      std::vector<Element> elements(static_cast<size_t>(count));
      for (Element& each : elements) {
        each = from_float<Element>(make());
        exact.push_back(static_cast<double>(to_float(each)));
      }
      bytes.resize(elements.size() * sizeof(Element));
      if (!bytes.empty()) std::memcpy(bytes.data(), elements.data(), bytes.size());
    });
  }
};

inline std::vector<double> widen(ElementType type, const std::vector<unsigned char>& bytes) {
  std::vector<double> wide;
  with_element(type, [&](auto element) {
    for (size_t at = 0; at < bytes.size(); at += sizeof(element)) {
      std::memcpy(&element, bytes.data() + at, sizeof(element));
      wide.push_back(static_cast<double>(to_float(element)));
    }
  });
  return wide;
}

struct Expected {
  std::vector<double> hidden;       // [batch, time, dim]
  std::vector<double> final_state;  // [batch, dim]
};

struct LinearProblem {
  Shape shape;
  ElementType type;
  Values a, b, initial_state;

  LinearProblem(Shape s, ElementType t, std::mt19937& random)
      : shape(s),
        type(t),
        a(t, s.batch * s.time * s.dim, [&] { return decay(random); }),
        b(t, s.batch * s.time * s.dim, [&] { return std::normal_distribution<float>()(random); }),
        initial_state(ElementType::kFloat32, s.batch * s.dim,
                      [&] { return std::normal_distribution<float>()(random); }) {}

  Expected solve() const {
    Expected out{{}, initial_state.exact};
    out.hidden.resize(a.exact.size());
    for (int64_t row = 0; row < shape.batch; ++row) {
      for (int64_t t = 0; t < shape.time; ++t) {
        for (int64_t d = 0; d < shape.dim; ++d) {
          const int64_t at = (row * shape.time + t) * shape.dim + d;
          double& state = out.final_state[row * shape.dim + d];
          state = a.exact[at] * state + b.exact[at];
          out.hidden[at] = state;
        }
      }
    }
    return out;
  }

 private:
  // Mostly slow decays; also the exact 0 and 1 of resets and padding, and negative ones.
  static float decay(std::mt19937& random) {
    const float u = std::uniform_real_distribution<float>()(random);
    return u < 0.02F ? 0.0F : u < 0.2F ? 1.0F : u < 0.3F ? -u : 0.5F + 0.5F * u;
  }
};

struct GruProblem {
  Shape shape;
  ElementType type;
  Values gates, weight, initial_state;
  std::vector<int64_t> lengths;

  GruProblem(Shape s, ElementType t, std::mt19937& random)
      : shape(s),
        type(t),
        gates(t, s.batch * s.time * 3 * s.dim, [&] { return 2.0F * std::normal_distribution<float>()(random); }),
        weight(t, 3 * s.dim * s.dim,
               [&] { return std::normal_distribution<float>()(random) / std::sqrt(static_cast<float>(s.dim)); }),
        initial_state(ElementType::kFloat32, s.batch * s.dim,
                      [&] { return std::normal_distribution<float>()(random); }) {
    // Ragged, with the empty and the full row among them.
    for (int64_t row = 0; row < s.batch; ++row) {
      lengths.push_back(row == 0 ? s.time : row == 1 ? 0 : std::uniform_int_distribution<int64_t>(0, s.time)(random));
    }
    poison_padding();
  }

  Expected solve() const {
    const int64_t dim = shape.dim;
    Expected out{{}, initial_state.exact};
    out.hidden.resize(static_cast<size_t>(shape.batch * shape.time * dim));
    for (int64_t row = 0; row < shape.batch; ++row) {
      for (int64_t t = 0; t < shape.time; ++t) {
        const double* input = gates.exact.data() + (row * shape.time + t) * 3 * dim;
        double* state = out.final_state.data() + row * dim;
        if (t < lengths[row]) step(input, state);
        std::copy(state, state + dim, out.hidden.begin() + (row * shape.time + t) * dim);
      }
    }
    return out;
  }

 private:
  // What lies beyond a row's length must never reach a result.
  void poison_padding() {
    with_element(type, [&](auto element) {
      element = from_float<decltype(element)>(NAN);
      for (int64_t row = 0; row < shape.batch; ++row) {
        for (int64_t at = lengths[row] * 3 * shape.dim; at < shape.time * 3 * shape.dim; ++at) {
          std::memcpy(gates.bytes.data() + (row * shape.time * 3 * shape.dim + at) * sizeof(element), &element,
                      sizeof(element));
        }
      }
    });
  }

  void step(const double* input, double* state) const {
    const int64_t dim = shape.dim;
    const auto product = [&](int64_t line) {
      double sum = 0.0;
      for (int64_t k = 0; k < dim; ++k) sum += weight.exact[line * dim + k] * state[k];
      return sum;
    };
    const auto sigmoid = [](double x) { return 1.0 / (1.0 + std::exp(-x)); };
    std::vector<double> next(static_cast<size_t>(dim));
    for (int64_t j = 0; j < dim; ++j) {
      const double reset = sigmoid(input[j] + product(j));
      const double update = sigmoid(input[dim + j] + product(dim + j));
      const double candidate = std::tanh(input[2 * dim + j] + reset * product(2 * dim + j));
      next[j] = (1.0 - update) * candidate + update * state[j];
    }
    std::copy(next.begin(), next.end(), state);
  }
};

}  // namespace deployrec::test
