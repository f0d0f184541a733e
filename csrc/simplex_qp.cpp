// The problem  min { l'Gl : l >= 0, sum l = 1 }  is solved as a non-negative QP on a scaled matrix.
//
// Scaling: s_i = 2^{k_i} with G_ii / s_i^2 in [1, 4), C = S^-1 G S^-1, b_i = s_min / s_i, u_i = s_i l_i.
// Powers of two, so that C is exact. Then f = u'Cu with b'u = 1, and with v = u / f the conditions of
// optimality are
//     C v - b >= 0,   v >= 0,   v'(C v - b) = 0,                     f = 1 / (b'v),
// those of  min { v'Cv / 2 - b'v : v >= 0 }: an active-set method of Lawson and Hanson's kind (Solving Least
// Squares Problems, 1974, ch. 23) on the Cholesky factor of the active block finds v. The minimum is 0 where
// v has no bound.
//
// The method runs in float64. Where the outcome does not prove itself (a nearly singular block, a residual
// whose sign is rounding), it goes on from there in double-double (106 bits), which decides.
#include "simplex_qp.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "gram.hpp"

namespace pyasmg {
namespace {

// ---- double-double arithmetic: x = hi + lo. Relies on IEEE rounding, hence on -ffp-contract=off. ----

struct Dd {
    double hi, lo;
    Dd() = default;
    Dd(double value) : hi(value), lo(0.0) {}
    Dd(double h, double l) : hi(h), lo(l) {}
};

inline Dd quick_two_sum(double a, double b) {
    const double s = a + b;
    return {s, b - (s - a)};
}

inline Dd two_sum(double a, double b) {
    const double s = a + b;
    const double t = s - a;
    return {s, (a - (s - t)) + (b - t)};
}

inline Dd two_prod(double a, double b) {    // Dekker: no fma, which is a slow call on plain x86-64
    constexpr double kSplit = 134217729.0;  // 2^27 + 1
    const double p = a * b;
    const double ta = kSplit * a, tb = kSplit * b;
    const double ah = ta - (ta - a), bh = tb - (tb - b);
    const double al = a - ah, bl = b - bh;
    return {p, ((ah * bh - p) + ah * bl + al * bh) + al * bl};
}

inline Dd operator+(Dd a, Dd b) {
    const Dd s = two_sum(a.hi, b.hi);
    return quick_two_sum(s.hi, s.lo + (a.lo + b.lo));
}
inline Dd operator-(Dd a) { return {-a.hi, -a.lo}; }
inline Dd operator-(Dd a, Dd b) { return a + -b; }
inline Dd operator*(Dd a, Dd b) {
    const Dd p = two_prod(a.hi, b.hi);
    return quick_two_sum(p.hi, p.lo + (a.hi * b.lo + a.lo * b.hi));
}
inline Dd operator*(double a, Dd b) {
    const Dd p = two_prod(a, b.hi);
    return quick_two_sum(p.hi, p.lo + a * b.lo);
}
inline Dd operator/(Dd a, Dd b) {
    const double q1 = a.hi / b.hi;
    Dd r = a - q1 * b;
    const double q2 = r.hi / b.hi;
    r = r - q2 * b;
    return quick_two_sum(q1, q2) + Dd(r.hi / b.hi);
}
inline Dd sqrt(Dd a) {
    const double x = std::sqrt(a.hi);
    return quick_two_sum(x, (a - two_prod(x, x)).hi / (2.0 * x));
}

inline double head(double x) { return x; }
inline double head(Dd x) { return x.hi; }

template <class T>
struct Precision;
template <>
struct Precision<double> {
    static constexpr double kUnit = std::numeric_limits<double>::epsilon();
    static constexpr double kGap = 1e-13;  // residuals up to kGap b_i change the minimum by 2e-13 of it at most
};
template <>
struct Precision<Dd> {
    static constexpr double kUnit = 0x1p-102;  // a few times 2^-106: the additions are the sloppy ones
    static constexpr double kGap = 1e-16;
};

// Four partial sums in a fixed order: the additions overlap, and the result depends on nothing but the input.
template <class T>
T dot(std::size_t n, const T* a, const T* b) {
    T s0 = 0.0, s1 = 0.0, s2 = 0.0, s3 = 0.0;
    std::size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        s0 = s0 + a[i] * b[i];
        s1 = s1 + a[i + 1] * b[i + 1];
        s2 = s2 + a[i + 2] * b[i + 2];
        s3 = s3 + a[i + 3] * b[i + 3];
    }
    for (; i < n; ++i) s0 = s0 + a[i] * b[i];
    return (s0 + s1) + (s2 + s3);
}

// The same in double-double, as a compensated sum (Ogita, Rump, Oishi 2005): no renormalisation in the loop,
// and the lanes are for the vector unit.
inline Dd dot(std::size_t n, const Dd* a, const Dd* b) {
    constexpr std::size_t kLanes = 4;
    double s[kLanes] = {}, e[kLanes] = {};
    std::size_t i = 0;
    for (; i + kLanes <= n; i += kLanes) {
        for (std::size_t j = 0; j < kLanes; ++j) {
            const Dd x = a[i + j], y = b[i + j];
            const Dd p = two_prod(x.hi, y.hi);
            const Dd t = two_sum(s[j], p.hi);
            s[j] = t.hi;
            e[j] += (t.lo + p.lo) + (x.hi * y.lo + x.lo * y.hi);
        }
    }
    Dd sum = 0.0;
    for (std::size_t j = 0; j < kLanes; ++j) sum = sum + quick_two_sum(s[j], e[j]);
    for (; i < n; ++i) sum = sum + a[i] * b[i];
    return sum;
}

// w -= v c, in the precision of v; w = hi + lo, not normalised.
inline void subtract(std::size_t m, double v, const double* c, double* hi, double*) {
    for (std::size_t i = 0; i < m; ++i) hi[i] -= v * c[i];
}
inline void subtract(std::size_t m, Dd v, const double* c, double* hi, double* lo) {
    for (std::size_t i = 0; i < m; ++i) {
        const Dd p = two_prod(-v.hi, c[i]);
        const Dd t = two_sum(hi[i], p.hi);
        hi[i] = t.hi;
        lo[i] += (t.lo + p.lo) - v.lo * c[i];
    }
}

enum class Outcome {
    proven,     // optimal to kGap, whatever rounding did
    uncertain,  // optimal as far as this precision can see
    unbounded,  // the active block is singular to this precision, v grows along its null vector: minimum 0
    exhausted   // too many pivots
};

// min { v'Cv / 2 - b'v : v >= 0 } in arithmetic T. v is feasible at all times, and v'Cv / 2 - b'v never
// grows.
template <class T>
class ActiveSet {
  public:
    ActiveSet(std::size_t m, const double* c, const double* b)
        : m_(m),
          c_(c),
          b_(b),
          factor_(m * m),
          inverse_(m),
          z_(m),
          target_(m),
          v_(m, T(0.0)),
          w_(m),
          low_(m),
          banned_(m, 0),
          inside_(m, 0) {
        active_.reserve(m);
    }

    Outcome solve(std::size_t max_pivots) {
        refresh_residual();
        while (pivots_ < max_pivots) {
            const std::size_t entering = most_violated();
            if (entering == m_) return proof();
            floored_ = append(entering);
            if (!(head(z_[active_.size() - 1]) > 0.0)) {  // the violation was rounding
                active_.pop_back();
                banned_[entering] = 1;
                continue;
            }
            move_to_target();
            std::fill(banned_.begin(), banned_.end(), char(0));
            if (floored_ && grows_without_bound()) return Outcome::unbounded;
            refresh_residual();
        }
        return Outcome::exhausted;
    }

    // Starts from the face and the point that a run in lower precision ended with.
    void start_from(const std::vector<std::size_t>& active, const std::vector<double>& v) {
        for (const std::size_t i : active) {
            if (append(i))
                active_.pop_back();  // v_i = 0 is feasible too; i comes back by itself if it is wanted
            else
                v_[i] = v[i];
        }
        floored_ = false;
        move_to_target();
    }

    const std::vector<std::size_t>& active() const { return active_; }
    const std::vector<T>& v() const { return v_; }
    std::size_t pivots() const { return pivots_; }

  private:
    T* row(std::size_t r) { return factor_.data() + r * m_; }

    // One more row for the factor of the active block; true where its pivot is rounding and was lifted to it.
    bool append(std::size_t i) {
        const std::size_t k = active_.size();
        const double* c = c_ + i * m_;
        T* l = row(k);
        for (std::size_t r = 0; r < k; ++r) l[r] = (T(c[active_[r]]) - dot(r, row(r), l)) * inverse_[r];
        T pivot = T(c[i]) - dot(k, l, l);
        const double floor = 16.0 * static_cast<double>(k + 2) * Precision<T>::kUnit * c[i];
        const bool floored = !(head(pivot) > floor);
        if (floored) pivot = floor;
        using std::sqrt;
        l[k] = sqrt(pivot);
        inverse_[k] = T(1.0) / l[k];
        z_[k] = (T(b_[i]) - dot(k, l, z_.data())) * inverse_[k];
        active_.push_back(i);
        ++pivots_;
        return floored;
    }

    // Takes position r out of the active set: Givens rotations make the factor triangular again.
    void remove(std::size_t r) {
        const std::size_t k = active_.size();
        v_[active_[r]] = 0.0;
        active_.erase(active_.begin() + static_cast<std::ptrdiff_t>(r));
        for (std::size_t j = r; j + 1 < k; ++j) {
            using std::sqrt;
            T* l = row(j);
            std::copy(row(j + 1), row(j + 1) + j + 2, l);
            T x = l[j], y = l[j + 1];
            const T norm = sqrt(x * x + y * y);
            x = x / norm;
            y = y / norm;
            l[j] = norm;
            inverse_[j] = T(1.0) / norm;
            for (std::size_t i = j + 2; i < k; ++i) {
                T* below = row(i);
                const T p = below[j], q = below[j + 1];
                below[j] = x * p + y * q;
                below[j + 1] = x * q - y * p;
            }
            // L z = b_A goes on to hold: its columns are rotated, so z is.
            const T p = z_[j], q = z_[j + 1];
            z_[j] = x * p + y * q;
            z_[j + 1] = x * q - y * p;
        }
        ++pivots_;
    }

    void solve_target() {  // L' target = z, so that C_AA target = b_A
        const std::size_t k = active_.size();
        std::copy(z_.begin(), z_.begin() + static_cast<std::ptrdiff_t>(k), target_.begin());
        for (std::size_t r = k; r-- > 0;) {
            const T* l = row(r);
            const T t = target_[r] * inverse_[r];
            target_[r] = t;
            for (std::size_t j = 0; j < r; ++j) target_[j] = target_[j] - t * l[j];
        }
    }

    // Walks to the minimiser on the face, and leaves the face's variables behind that would turn negative.
    void move_to_target() {
        while (!active_.empty()) {
            solve_target();
            const std::size_t k = active_.size();
            std::size_t blocking = k;
            T step = 1.0;
            for (std::size_t r = 0; r < k; ++r) {
                if (head(target_[r]) > 0.0) continue;
                const T from = v_[active_[r]];
                const T gap = from - target_[r];
                const T reach = head(gap) > 0.0 ? from / gap : T(0.0);
                if (blocking == k || head(reach - step) < 0.0) {
                    blocking = r;
                    step = reach;
                }
            }
            if (blocking == k) {
                for (std::size_t r = 0; r < k; ++r) v_[active_[r]] = target_[r];
                return;
            }
            for (std::size_t r = 0; r < k; ++r) {
                T& value = v_[active_[r]];
                value = value + step * (target_[r] - value);
                if (head(value) < 0.0) value = 0.0;
            }
            if (floored_ && blocking + 1 < k) {  // the lifted pivot was for this face only: make it anew
                const std::size_t entering = active_.back();
                active_.pop_back();
                remove(blocking);
                floored_ = append(entering);
            } else {
                floored_ = false;
                remove(blocking);
            }
        }
    }

    void refresh_residual() {  // w = b - C v
        std::copy(b_, b_ + m_, w_.begin());
        std::fill(low_.begin(), low_.end(), 0.0);
        std::fill(inside_.begin(), inside_.end(), char(0));
        total_ = 0.0;
        for (const std::size_t j : active_) {
            subtract(m_, v_[j], c_ + j * m_, w_.data(), low_.data());
            inside_[j] = 1;
            total_ += head(v_[j]);
        }
        for (std::size_t i = 0; i < m_; ++i) w_[i] += low_[i];
    }

    double unit() const { return 4.0 * static_cast<double>(active_.size() + 4) * Precision<T>::kUnit; }

    double noise(std::size_t i) const {  // what rounding can do to w_i
        double sum = b_[i];
        for (const std::size_t j : active_) sum += std::abs(c_[i * m_ + j]) * head(v_[j]);
        return unit() * sum;
    }

    std::size_t most_violated() const {
        const double coarse = unit() * (1.0 + 4.0 * total_);  // |C_ij| <= 4
        std::size_t best = m_;
        double most = 0.0;
        for (std::size_t i = 0; i < m_; ++i) {
            const double w = w_[i];
            if (!(w > most) || inside_[i] || banned_[i] || w <= Precision<T>::kGap * b_[i]) continue;
            if (w <= coarse && w <= noise(i)) continue;
            best = i;
            most = w;
        }
        return best;
    }

    Outcome proof() {
        double least = 4.0;  // smallest pivot: the square of the error of v, in the norm of C, is (eps / least)^2
        for (std::size_t r = 0; r < active_.size(); ++r) least = std::min(least, head(row(r)[r] * row(r)[r]));
        if (least < 1e-5) return Outcome::uncertain;
        const double coarse = unit() * (1.0 + 4.0 * total_);
        for (std::size_t i = 0; i < m_; ++i) {
            if (inside_[i] || w_[i] < -coarse) continue;
            const double rounding = noise(i);
            if (w_[i] > -rounding && w_[i] + rounding > Precision<T>::kGap * b_[i]) return Outcome::uncertain;
        }
        return Outcome::proven;
    }

    bool grows_without_bound() const {  // f = 1 / b'v against S = (sum u)^2 = (sum v / b'v)^2
        double bv = 0.0, total = 0.0;
        for (const std::size_t j : active_) {
            bv += b_[j] * head(v_[j]);
            total += head(v_[j]);
        }
        return bv <= 64.0 * static_cast<double>(m_ + 2) * Precision<T>::kUnit * total * total;
    }

    std::size_t m_;
    const double* c_;
    const double* b_;
    std::vector<T> factor_, inverse_, z_, target_, v_;
    std::vector<double> w_, low_;
    std::vector<char> banned_, inside_;
    std::vector<std::size_t> active_;
    std::size_t pivots_ = 0;
    double total_ = 0.0;
    bool floored_ = false;
};

// u'Cu in double-double, u_i = s_i l_i / s_min.
double value(std::size_t m, const double* c, const std::vector<double>& u) {
    Dd sum = 0.0;
    for (std::size_t i = 0; i < m; ++i) {
        if (u[i] == 0.0) continue;
        Dd product = 0.0;
        for (std::size_t j = 0; j < i; ++j)
            if (u[j] != 0.0) product = product + two_prod(c[i * m + j], u[j]);
        sum = sum + u[i] * (product + product + two_prod(c[i * m + i], u[i]));
    }
    return std::max(sum.hi, 0.0);
}

}  // namespace

double simplex_qp(std::size_t m, const double* gram, double* weights) {
    std::vector<double> c(m * m), b(m);
    std::vector<int> exponent(m);
    if (!scale_gram(m, gram, c.data(), exponent.data())) {  // zero gradients: minimum 0 at each
        double zeros = 0.0;
        for (std::size_t i = 0; i < m; ++i) zeros += gram[i * m + i] == 0.0 ? 1.0 : 0.0;
        for (std::size_t i = 0; i < m; ++i) weights[i] = gram[i * m + i] == 0.0 ? 1.0 / zeros : 0.0;
        return 0.0;
    }
    const int least = *std::min_element(exponent.begin(), exponent.end());
    for (std::size_t i = 0; i < m; ++i) b[i] = std::ldexp(1.0, least - exponent[i]);

    std::vector<double> u(m);
    ActiveSet<double> fast(m, c.data(), b.data());
    if (fast.solve(4 * m + 40) == Outcome::proven) {
        u = fast.v();
    } else {
        ActiveSet<Dd> exact(m, c.data(), b.data());
        exact.start_from(fast.active(), fast.v());
        exact.solve(20 * m + 200);
        for (std::size_t i = 0; i < m; ++i) u[i] = exact.v()[i].hi;
    }

    double sum = 0.0;
    for (std::size_t i = 0; i < m; ++i) sum += b[i] * u[i];
    for (std::size_t i = 0; i < m; ++i) {
        u[i] /= sum;
        weights[i] = b[i] * u[i];
    }
    return std::ldexp(value(m, c.data(), u), 2 * least);
}

}  // namespace pyasmg
